// SPDX-License-Identifier: GPL-2.0
/*
 * A module that uses nothing, and registers a module notifier as tracing does.
 *
 * With stall_ms=N it sets a parameter of quiesce when that is unloaded or its start
 * has failed: later than the last function of quiesce, and before the kernel removes
 * the parameter's file, to which user space can write until then.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/string.h>

static char *stall_ms;
module_param(stall_ms, charp, 0444);
MODULE_PARM_DESC(stall_ms, "What rundown_stall_ms of quiesce is set to when that is unloaded");

static unsigned int set;
module_param(set, uint, 0444);
MODULE_PARM_DESC(set, "How often it was set");

static void set_stall_ms(struct module *mod)
{
	unsigned int i;

	for (i = 0; i < mod->num_kp; i++) {
		const struct kernel_param *param = &mod->kp[i];

		if (strcmp(param->name, "rundown_stall_ms"))
			continue;
		kernel_param_lock(mod);
		if (!param->ops->set(stall_ms, param))
			set++;
		kernel_param_unlock(mod);
	}
}

static int plain_notify(struct notifier_block *nb, unsigned long state, void *data)
{
	struct module *mod = data;

	if (stall_ms && state == MODULE_STATE_GOING && !strcmp(mod->name, "quiesce"))
		set_stall_ms(mod);
	return NOTIFY_DONE;
}

static struct notifier_block plain_nb = {
	.notifier_call = plain_notify,
};

static int __init plain_init(void)
{
	return register_module_notifier(&plain_nb);
}
module_init(plain_init);

static void __exit plain_exit(void)
{
	unregister_module_notifier(&plain_nb);
}
module_exit(plain_exit);

MODULE_DESCRIPTION("Uses nothing");
MODULE_LICENSE("GPL");
