// SPDX-License-Identifier: GPL-2.0
/* A module that uses nothing, and registers a module notifier as tracing does. */
#include <linux/module.h>
#include <linux/notifier.h>

static int plain_notify(struct notifier_block *nb, unsigned long state, void *mod)
{
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
