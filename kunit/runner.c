// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the KUnit suites of a module in a kernel without CONFIG_KUNIT, such as
 * Debian's.
 *
 * The suites are what #[kunit_tests] makes of them for KUnit: this file stands in
 * for the part of lib/kunit/ that they call, and reports as KUnit does: in the
 * kernel's log, and as one KTAP document a suite in
 * /sys/kernel/debug/kunit/SUITE/results. The parameter filter_glob takes
 * SUITE_GLOB[.TEST_GLOB], as that of kunit.ko does.
 *
 * The suites are found between a first entry of their section, which is here, and a
 * last one, which is in runner_end.c: ld keeps the order in which Kbuild names a
 * module's objects.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/glob.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>
#include <kunit/test.h>
#include <kunit/test-bug.h>

#include "support.h"

#define TEST_TIMEOUT	(300 * HZ)
#define RESULTS_SIZE	SZ_128K

struct kunit *rust_helper_kunit_get_current_test(void);

static struct kunit_suite *first_suite[1] __used __section(".kunit_test_suites") = { NULL };

static char filter_glob[128] = "*";
module_param_string(filter_glob, filter_glob, sizeof(filter_glob), 0444);
MODULE_PARM_DESC(filter_glob, "Which suites to run: SUITE_GLOB[.TEST_GLOB]");

/* One suite's results; a test that prints them may be any task. */
struct results {
	struct list_head entry;
	struct debugfs_blob_wrapper blob;
	size_t truncated;
	char text[];
};

struct running {
	struct kunit test;
	void (*run_case)(struct kunit *test);
	struct completion done;
	bool aborted;
};

static LIST_HEAD(all_results);
static DEFINE_SPINLOCK(report_lock);
static struct results *results;
static struct dentry *directory;
static struct task_struct *test_task;
static struct running running;

/* Says it in the kernel's log and in the results. */
static __printf(1, 2) void report(const char *fmt, ...)
{
	char line[256];
	unsigned long flags;
	va_list args;
	int length;

	va_start(args, fmt);
	length = min_t(int, vsnprintf(line, sizeof(line), fmt, args), sizeof(line) - 1);
	va_end(args);
	pr_info("%s", line);

	spin_lock_irqsave(&report_lock, flags);
	if (results->blob.size + length <= RESULTS_SIZE) {
		memcpy(results->text + results->blob.size, line, length);
		results->blob.size += length;
	} else {
		results->truncated += length;
	}
	spin_unlock_irqrestore(&report_lock, flags);
}

/* What the generated code of a suite calls. */

struct kunit *rust_helper_kunit_get_current_test(void)
{
	return current == READ_ONCE(test_task) ? &running.test : NULL;
}

void kunit_unary_assert_format(const struct kunit_assert *assert,
			       const struct va_format *message,
			       struct string_stream *stream)
{
	/* A name: __kunit_do_failed_assertion() formats the only kind that there is. */
}

void __kunit_do_failed_assertion(struct kunit *test, const struct kunit_loc *loc,
				 enum kunit_assert_type type,
				 const struct kunit_assert *assert,
				 assert_format_t assert_format,
				 const char *fmt, ...)
{
	const struct kunit_unary_assert *unary =
		container_of(assert, struct kunit_unary_assert, assert);

	WRITE_ONCE(test->status, KUNIT_FAILURE);
	report("    # %s: ASSERTION FAILED at %s:%d\n", test->name, loc->file, loc->line);
	report("    # Expected %s to be %s, but is %s\n", unary->condition,
	       unary->expected_true ? "true" : "false", unary->expected_true ? "false" : "true");
}

void __noreturn __kunit_abort(struct kunit *test)
{
	running.aborted = true;
	/* As in KUnit, the rest of the task's stack is left as it is. */
	kthread_complete_and_exit(&running.done, 0);
}

/* Nothing of this module runs after the completion: it may go away then. */
static int run_case_thread(void *data)
{
	/* Before the test's first assertion, which asks for it. */
	WRITE_ONCE(test_task, current);
	running.run_case(&running.test);
	kthread_complete_and_exit(&running.done, 0);
}

static int run_case(struct kunit_case *test_case)
{
	struct task_struct *task;

	memset(&running, 0, sizeof(running));
	running.test.name = test_case->name;
	running.test.status = KUNIT_SUCCESS;
	running.run_case = test_case->run_case;
	spin_lock_init(&running.test.lock);
	INIT_LIST_HEAD(&running.test.resources);
	init_completion(&running.done);

	task = kthread_run(run_case_thread, NULL, "kunit_test");
	if (IS_ERR(task))
		return PTR_ERR(task);
	while (!wait_for_completion_timeout(&running.done, TEST_TIMEOUT)) {
		/* It is still at work on this module's data: all that can be done is to say so. */
		WRITE_ONCE(running.test.status, KUNIT_FAILURE);
		pr_err("BUG: %s timed out\n", test_case->name);
	}
	WRITE_ONCE(test_task, NULL);
	return 0;
}

static bool wanted(const char *name, const char *glob, const char *end)
{
	char part[sizeof(filter_glob)];

	strscpy(part, glob, min_t(size_t, sizeof(part), end - glob + 1));
	return !*part || glob_match(part, name);
}

static int run_suite(struct kunit_suite *suite)
{
	const char *end = filter_glob + strlen(filter_glob);
	const char *dot = strchrnul(filter_glob, '.');
	const char *tests = *dot ? dot + 1 : end;
	unsigned int count = 0, at = 0, passed = 0, failed = 0, skipped = 0;
	struct kunit_case *test_case;
	struct dentry *dir;
	int ret;

	if (!wanted(suite->name, filter_glob, dot))
		return 0;
	for (test_case = suite->test_cases; test_case->run_case; test_case++)
		count += wanted(test_case->name, tests, end);
	if (!count)
		return 0;

	results = vzalloc(struct_size(results, text, RESULTS_SIZE));
	if (!results)
		return -ENOMEM;
	results->blob.data = results->text;
	list_add_tail(&results->entry, &all_results);

	report("KTAP version 1\n");
	report("1..1\n");
	report("    KTAP version 1\n");
	report("    # Subtest: %s\n", suite->name);
	report("    1..%u\n", count);
	for (test_case = suite->test_cases; test_case->run_case; test_case++) {
		if (!wanted(test_case->name, tests, end))
			continue;
		ret = run_case(test_case);
		if (ret)
			return ret;
		switch (READ_ONCE(running.test.status)) {
		case KUNIT_SKIPPED:
			skipped++;
			report("    ok %u %s # SKIP not in this configuration\n", ++at,
			       test_case->name);
			break;
		case KUNIT_SUCCESS:
			passed++;
			report("    ok %u %s\n", ++at, test_case->name);
			break;
		default:
			failed++;
			report("    not ok %u %s\n", ++at, test_case->name);
		}
	}
	report("# %s: pass:%u fail:%u skip:%u total:%u\n", suite->name, passed, failed, skipped,
	       count);
	if (results->truncated)
		pr_err("BUG: %zu bytes of the results of %s found no room\n", results->truncated,
		       suite->name);
	report("%s 1 %s%s\n", failed ? "not ok" : "ok", suite->name,
	       passed || failed ? "" : " # SKIP");

	dir = debugfs_create_dir(suite->name, directory);
	debugfs_create_blob("results", 0444, dir, &results->blob);
	return 0;
}

int quiesce_kunit_run_suites(void)
{
	struct kunit_suite **suite;
	int ret = 0;

	directory = debugfs_create_dir("kunit", NULL);
	if (IS_ERR(directory))
		return PTR_ERR(directory);
	/* The compiler must not conclude that the section ends with the array. */
	suite = first_suite;
	OPTIMIZER_HIDE_VAR(suite);
	for (suite++; *suite && !ret; suite++)
		ret = run_suite(*suite);
	if (ret)
		quiesce_kunit_remove_results();
	return ret;
}

void quiesce_kunit_remove_results(void)
{
	struct results *next;

	debugfs_remove_recursive(directory);
	list_for_each_entry_safe(results, next, &all_results, entry)
		vfree(results);
	INIT_LIST_HEAD(&all_results);
}
