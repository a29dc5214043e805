// SPDX-License-Identifier: GPL-2.0
/*
 * The frame of the benchmark module. Each row is a file in debugfs: reading it
 * runs quiesce and the baseline alternately and returns one line per round. The
 * host computes the statistics.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/seqlock.h>
#include <linux/vmstat.h>

#include "bench.h"

#define MAX_CPUS	8
#define WARM_UP		2
/* A round is the quickest of so many runs: what else the machine does only adds. */
#define RUNS		3

static unsigned int rounds = 24;
module_param(rounds, uint, 0400);
MODULE_PARM_DESC(rounds, "Rounds of a row");

static unsigned int run_us = 5000;
module_param(run_us, uint, 0400);
MODULE_PARM_DESC(run_us, "A run lasts at least this long: the clock then does not matter");

static unsigned int divisor = 1;
module_param(divisor, uint, 0400);
MODULE_PARM_DESC(divisor, "Rows with a number of their own do it divided by this");

struct bench_row {
	const char *name;
	bench_fn ours;
	/* NULL: there is none. */
	bench_fn peer;
	unsigned int arg;
	/* Number of CPUs that run the path at the same time. */
	unsigned int ours_cpus;
	unsigned int peer_cpus;
	/* Iterations a round; 0 means as many as run_us takes. */
	u64 n;
	/* Wait before the next round until everything deferred has been freed. */
	bool settle;
};

#define ROW(path) \
	{ .name = #path, .ours = bench_ours_##path, .peer = bench_peer_##path }
#define ROW_NAMED(row, path, ...) \
	{ .name = row, .ours = bench_ours_##path, .peer = bench_peer_##path, __VA_ARGS__ }
/* Ours alone at one size, for BENCH=scale. */
#define ROW_SIZE(curve, path, size, ...) \
	{ .name = "scale_" #curve "_" #size, .ours = bench_ours_##path, .arg = size, __VA_ARGS__ }
#define ALL_CPUS	U32_MAX
/* One function against itself, on more CPUs. */
#define ROW_SCALE(row, fn, cpus) \
	{ .name = row, .ours = fn, .peer = fn, .ours_cpus = cpus }

static const struct bench_row rows[] = {
	/* A baseline against itself shows the resolution of the measurement. */
	ROW_SCALE("null_seqlock_read", bench_peer_seqlock_read, 1),
	ROW_SCALE("null_rundown_word", bench_peer_rundown_word, 1),
	ROW(seqlock_read),
	ROW(seqlock_read_excl),
	ROW(seqlock_write),
	ROW(seqlock_write_bh),
	ROW(seqlock_write_irq),
	ROW(seqlock_write_irqsave),
	ROW(seqlock_write_irq_counted),
	ROW(rundown_word),
	ROW(rundown_refcount),
	ROW(rundown_percpu),
	ROW_NAMED("rundown_word_2cpus", rundown_word, .ours_cpus = 2, .peer_cpus = 2),
	ROW_NAMED("rundown_percpu_2cpus", rundown_percpu, .ours_cpus = 2, .peer_cpus = 2),
	ROW_SCALE("rundown_word_scaling", bench_ours_rundown_word, 2),
	ROW_SCALE("rundown_percpu_scaling", bench_ours_rundown_percpu, 2),
	ROW(rundown_drain),
	ROW(rundown_drain_percpu),
	ROW_NAMED("rundown_drain_1_holder", rundown_drain_holders, .arg = 1),
	ROW_NAMED("rundown_drain_16_holders", rundown_drain_holders, .arg = 16),
	ROW_NAMED("rundown_drain_256_holders", rundown_drain_holders, .arg = 256),
	ROW(rundown_create),
	ROW(rundown_create_percpu),
	ROW(rcu_read),
	ROW(srcu_read),
	ROW(rcu_alloc),
	ROW_NAMED("rcu_defer_1M", rcu_defer, .n = 1000 * 1000, .settle = true),
	ROW_NAMED("rcu_defer_drop_100k", rcu_defer_drop, .n = 100 * 1000, .settle = true),
	ROW_SIZE(holders, rundown_drain_holders, 1),
	ROW_SIZE(holders, rundown_drain_holders, 16),
	ROW_SIZE(holders, rundown_drain_holders, 256),
	ROW_SIZE(holders, rundown_drain_holders, 4096),
	ROW_SIZE(holders, rundown_drain_holders, 65536),
	ROW_SIZE(domains, domains, 1),
	ROW_SIZE(domains, domains, 10),
	ROW_SIZE(domains, domains, 100),
	ROW_SIZE(pending, rcu_defer, 1000, .n = 1000, .settle = true),
	ROW_SIZE(pending, rcu_defer, 10000, .n = 10000, .settle = true),
	ROW_SIZE(pending, rcu_defer, 100000, .n = 100000, .settle = true),
	ROW_SIZE(pending, rcu_defer, 1000000, .n = 1000000, .settle = true),
	ROW_SIZE(word_cpus, rundown_word, 0, .ours_cpus = ALL_CPUS),
	ROW_SIZE(percpu_cpus, rundown_percpu, 0, .ours_cpus = ALL_CPUS),
};

u64 bench_sink;
static struct dentry *dir;
static DEFINE_MUTEX(one_row_at_a_time);

struct run {
	bench_fn fn;
	u64 n;
	unsigned int arg;
	atomic_t waiting;
	bool go;
};

struct worker {
	struct run *run;
	struct task_struct *task;
	struct completion done;
	u64 begin;
	u64 end;
	u64 extra;
};

u64 bench_used_kb(void)
{
	return global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B) << (PAGE_SHIFT - 10);
}

void bench_breathe(void)
{
	cond_resched();
}

static int worker(void *data)
{
	struct worker *w = data;
	struct run *run = w->run;

	atomic_dec(&run->waiting);
	/* Pairs with the store in run_on(). */
	while (!smp_load_acquire(&run->go)) {
		cpu_relax();
		cond_resched();
	}
	w->begin = ktime_get_ns();
	w->extra = run->fn(run->n, run->arg);
	w->end = ktime_get_ns();
	complete(&w->done);

	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* Runs fn n times on each of the first cpus CPUs; the time from first to last. */
static int run_on(bench_fn fn, u64 n, unsigned int arg, unsigned int cpus, u64 *ns, u64 *extra)
{
	struct run run = { .fn = fn, .n = n, .arg = arg, .waiting = ATOMIC_INIT(cpus) };
	struct worker *w;
	unsigned int cpu, i = 0;
	u64 begin = U64_MAX, end = 0;
	int err = 0;

	w = kcalloc(cpus, sizeof(*w), GFP_KERNEL);
	if (!w)
		return -ENOMEM;
	for_each_online_cpu(cpu) {
		if (i == cpus)
			break;
		w[i].run = &run;
		init_completion(&w[i].done);
		w[i].task = kthread_create(worker, &w[i], "quiesce_bench/%u", cpu);
		if (IS_ERR(w[i].task)) {
			err = PTR_ERR(w[i].task);
			break;
		}
		kthread_bind(w[i].task, cpu);
		wake_up_process(w[i].task);
		i++;
	}
	if (!err && i < cpus)
		err = -ENODEV;
	while (!err && atomic_read(&run.waiting))
		schedule_timeout_uninterruptible(1);
	if (err)
		run.n = 0;
	/* Pairs with the load in worker(). */
	smp_store_release(&run.go, true);
	*extra = 0;
	while (i--) {
		wait_for_completion(&w[i].done);
		kthread_stop(w[i].task);
		begin = min(begin, w[i].begin);
		end = max(end, w[i].end);
		*extra = max(*extra, w[i].extra);
	}
	kfree(w);
	*ns = end - begin;
	return err;
}

static int run_row(struct seq_file *m, const struct bench_row *row)
{
	unsigned int cpus[] = { max(row->ours_cpus, 1), max(row->peer_cpus, 1) };
	int nr_sides = row->peer ? 2 : 1;
	bench_fn fns[] = { row->ours, row->peer };
	static const char * const sides[] = { "ours", "peer" };
	u64 n[] = { row->n / divisor, row->n / divisor }, ns, extra;
	int runs = row->n ? 1 : RUNS;
	int round, side, i, err;

	if (row->ours_cpus == ALL_CPUS)
		cpus[0] = num_online_cpus();
	for (side = 0; side < nr_sides && !row->n; side++) {
		for (n[side] = 1; ; n[side] *= 2) {
			err = run_on(fns[side], n[side], row->arg, cpus[side], &ns, &extra);
			if (err)
				return err;
			if (ns >= run_us * NSEC_PER_USEC || n[side] >> 40)
				break;
		}
	}
	for (round = -WARM_UP; round < (int)rounds; round++) {
		u64 best[] = { U64_MAX, U64_MAX }, most[] = { 0, 0 };

		/* One warm-up will do where a round is a second. */
		if (row->n && round < -1)
			continue;
		for (i = 0; i < nr_sides * runs; i++) {
			/* Each side is first in every other round. */
			side = (i + round + WARM_UP) % nr_sides;
			if (row->settle) {
				bench_ours_settle();
				bench_peers_settle();
			}
			err = run_on(fns[side], n[side], row->arg, cpus[side], &ns, &extra);
			if (err)
				return err;
			best[side] = min(best[side], ns);
			most[side] = max(most[side], extra);
		}
		for (side = 0; side < nr_sides && round >= 0; side++)
			seq_printf(m, "round %s %s %llu %llu %llu\n", row->name, sides[side],
				   n[side], best[side], most[side]);
	}
	return 0;
}

static int row_show(struct seq_file *m, void *unused)
{
	int err;

	mutex_lock(&one_row_at_a_time);
	err = run_row(m, m->private);
	mutex_unlock(&one_row_at_a_time);
	return err;
}

static int row_open(struct inode *inode, struct file *file)
{
	/* All of it fits, so that the row is not run again for a larger buffer. */
	return single_open_size(file, row_show, inode->i_private, 16 * PAGE_SIZE);
}

static const struct file_operations row_fops = {
	.owner = THIS_MODULE,
	.open = row_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int sizes_show(struct seq_file *m, void *unused)
{
	/* In the order of bench_ours_size(). */
	static const struct {
		const char *name;
		u64 peer;
	} sizes[] = {
		{ "rundown word (peer: atomic_long_t)", sizeof(sizeof_peer_rundown) },
		{ "rundown per CPU, without the counts (peer: percpu_ref and its data)",
		  sizeof(sizeof_peer_rundown_percpu) },
		{ "seqlock of 24 bytes (peer: seqlock_t and the data)",
		  sizeof(sizeof_peer_seqlock) },
		{ "rcu cell (peer: a pointer)", sizeof(sizeof_peer_rcu_cell) },
		{ "retirable box of 24 bytes (peer: rcu_head and the data)",
		  sizeof(sizeof_peer_rcu_object) },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		seq_printf(m, "bytes %llu %llu %s\n", bench_ours_size(i),
			   sizes[i].peer, sizes[i].name);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sizes);

static int __init bench_init(void)
{
	int i, err;

	err = bench_peers_rundown_init();
	if (err)
		return err;
	err = bench_peers_rcu_init();
	if (err)
		goto no_rcu;
	err = bench_ours_init();
	if (err)
		goto no_ours;
	dir = debugfs_create_dir("quiesce_bench", NULL);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		debugfs_create_file(rows[i].name, 0400, dir, (void *)&rows[i], &row_fops);
	debugfs_create_file("sizes", 0400, dir, NULL, &sizes_fops);
	return 0;

no_ours:
	bench_peers_rcu_exit();
no_rcu:
	bench_peers_rundown_exit();
	return err;
}

static void __exit bench_exit(void)
{
	debugfs_remove(dir);
	bench_ours_settle();
	bench_peers_settle();
	bench_ours_exit();
	bench_peers_rcu_exit();
	bench_peers_rundown_exit();
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_DESCRIPTION("Measures quiesce against the kernel's own C");
MODULE_LICENSE("GPL");
