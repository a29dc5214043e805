// SPDX-License-Identifier: GPL-2.0
/*
 * The control interface of the torture module: its parameters.
 *
 *   run    "PART MUTANT SECONDS WORKERS"; the write returns when the run is over,
 *          and a read returns its result
 *   fault  "NAME": one operation that allocates, in the writing task, so that
 *          fault injection can make it fail; the write returns its errno
 */

#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/string.h>
#include "control.h"

#define RESULT_SIZE 1024

static DEFINE_MUTEX(lock);
static char result[RESULT_SIZE] = "verdict=none";

void quiesce_torture_result(const char *text)
{
	strscpy(result, text, sizeof(result));
}

/*
 * Moves the calling thread to a CPU, if that is online. It may go elsewhere
 * again: on PREEMPT_RT the scheduler warns (7.3.4, WARN_ON_ONCE(!pending)) when
 * the one CPU of a thread goes offline while the thread cannot migrate.
 */
void quiesce_torture_migrate(int cpu)
{
	set_cpus_allowed_ptr(current, cpumask_of(cpu));
	set_cpus_allowed_ptr(current, cpu_possible_mask);
}

void quiesce_torture_fifo(void)
{
	sched_set_fifo_low(current);
}

static int run_set(const char *val, const struct kernel_param *kp)
{
	unsigned int seconds, workers;
	char part[16], mutant[32];
	int ret;

	if (sscanf(val, "%15s %31s %u %u", part, mutant, &seconds, &workers) != 4)
		return -EINVAL;
	mutex_lock(&lock);
	ret = quiesce_torture_run(part, mutant, seconds, workers);
	mutex_unlock(&lock);
	return ret;
}

static int run_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", result);
}

static const struct kernel_param_ops run_ops = {
	.set = run_set,
	.get = run_get,
};

module_param_cb(run, &run_ops, NULL, 0600);

static int fault_set(const char *val, const struct kernel_param *kp)
{
	char name[32];

	if (sscanf(val, "%31s", name) != 1)
		return -EINVAL;
	return quiesce_torture_fault(name);
}

static const struct kernel_param_ops fault_ops = {
	.set = fault_set,
};

module_param_cb(fault, &fault_ops, NULL, 0200);
