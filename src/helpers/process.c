// SPDX-License-Identifier: GPL-2.0
/* Processes, files and user memory, for the device. */
#include <linux/align.h>
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../helpers.h"

struct pid *quiesce_helper_current_pid(void)
{
	return get_pid(task_tgid(current));
}
EXPORT_SYMBOL_GPL(quiesce_helper_current_pid);

void quiesce_helper_get_pid(struct pid *pid)
{
	get_pid(pid);
}
EXPORT_SYMBOL_GPL(quiesce_helper_get_pid);

/*
 * Returns the inode number of the process's pidfds, which no other process has.
 */
u64 quiesce_helper_pid_ino(struct pid *pid)
{
	return pid->ino;
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_ino);

static int quiesce_exit_code(struct task_struct *task)
{
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->exit_code;
}

/*
 * Returns whether all threads of the process have exited, as pidfd_poll() does.
 * A pidfd's wait queue is also woken when only the leader of a traced group has
 * exited.
 */
bool quiesce_helper_pid_ended(struct pid *pid, int *code)
{
	struct task_struct *task;

	guard(rcu)();
	*code = 0;
	task = pid_task(pid, PIDTYPE_TGID);
	if (!task)
		return true;
	if (!READ_ONCE(task->exit_state) || !thread_group_empty(task))
		return false;
	*code = quiesce_exit_code(task);
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_ended);

/*
 * The entry comes before those of all who poll a pidfd, also of those who come
 * later: epoll and io_uring return as soon as their entry is woken. It is not
 * exclusive, so that it takes the event from none of them.
 */
void quiesce_helper_pid_watch(struct pid *pid, struct wait_queue_entry *entry,
			      wait_queue_func_t func)
{
	init_waitqueue_func_entry(entry, func);
	add_wait_queue_priority(&pid->wait_pidfd, entry);
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_watch);

void quiesce_helper_pid_unwatch(struct pid *pid, struct wait_queue_entry *entry)
{
	remove_wait_queue(&pid->wait_pidfd, entry);
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_unwatch);

/* As many items as an exit may queue would each make a worker, which nobody is charged for. */
#define QUIESCE_EXIT_WORKERS	8

/*
 * Creates the workqueue on which barriers wake their waiters after a process
 * has exited. An item does not sleep for long, but it wakes all who wait for its
 * barrier or poll it, whose number only memory limits: the items of one user's
 * barriers can delay those of another's.
 */
struct workqueue_struct *quiesce_helper_exit_workqueue(void)
{
	return alloc_workqueue("quiesce_exit", WQ_UNBOUND, QUIESCE_EXIT_WORKERS);
}
EXPORT_SYMBOL_GPL(quiesce_helper_exit_workqueue);

/*
 * The same number as the default of pipe-user-pages-soft: tens of megabytes of
 * files.
 */
static unsigned int user_files = 16384;
module_param(user_files, uint, 0644);
MODULE_PARM_DESC(user_files,
		 "How many groups and parties of /dev/quiesce an unprivileged user can have");

unsigned int quiesce_helper_user_files(void)
{
	return READ_ONCE(user_files);
}
EXPORT_SYMBOL_GPL(quiesce_helper_user_files);

bool quiesce_helper_is_unlimited(void)
{
	return capable(CAP_SYS_RESOURCE) || capable(CAP_SYS_ADMIN);
}
EXPORT_SYMBOL_GPL(quiesce_helper_is_unlimited);

u32 quiesce_helper_current_uid(void)
{
	return __kuid_val(current_uid());
}
EXPORT_SYMBOL_GPL(quiesce_helper_current_uid);

/*
 * The VFS's allocations for a file call the OOM killer at the cgroup's limit.
 * This allocation fails instead. Freeing it leaves the charge in the CPU's
 * stock, which the file's allocations use next.
 */
int quiesce_helper_charge_ahead(void)
{
	void *p = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);

	kfree(p);
	return p ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_GPL(quiesce_helper_charge_ahead);

/*
 * True also for a thread that exits because another thread of its process
 * called execve().
 */
bool quiesce_helper_in_exec(void)
{
	return current->in_execve || READ_ONCE(current->signal->group_exec_task);
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_exec);

/*
 * Returns whether the calling task's process ends, and its exit code. The flag
 * is also set when the last thread exits; a thread that exits alone leaves the
 * process alive.
 */
bool quiesce_helper_in_exit(int *code)
{
	if (!(current->flags & PF_EXITING) ||
	    !(READ_ONCE(current->signal->flags) & SIGNAL_GROUP_EXIT))
		return false;
	*code = READ_ONCE(current->signal->group_exit_code);
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_exit);

bool quiesce_helper_is_kthread(void)
{
	return current->flags & PF_KTHREAD;
}
EXPORT_SYMBOL_GPL(quiesce_helper_is_kthread);

bool quiesce_helper_is_current_pid(struct pid *pid)
{
	return task_tgid(current) == pid;
}
EXPORT_SYMBOL_GPL(quiesce_helper_is_current_pid);

/*
 * Returns the number of @pid in the pid namespace of the procfs that @m is a
 * file of.
 */
int quiesce_helper_pid_in_proc(struct seq_file *m, struct pid *pid)
{
	return pid_nr_ns(pid, proc_pid_ns(file_inode(m->file)->i_sb));
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_in_proc);

/*
 * Creates a file with a separate inode, so that security modules label and
 * check it.
 */
struct file *quiesce_helper_anon_file(const char *name, const struct file_operations *fops,
				      void *private_data)
{
	return anon_inode_create_getfile(name, fops, private_data, O_RDWR, NULL);
}
EXPORT_SYMBOL_GPL(quiesce_helper_anon_file);

/*
 * A struct of the interface is a few words on the stack, and usually has the
 * size that user space passes. Then it is copied word by word, because the
 * set-up of a large copy costs more than that.
 */
static bool quiesce_is_words(unsigned long user, size_t user_size, size_t size)
{
	if (!IS_ENABLED(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) &&
	    !IS_ALIGNED(user, sizeof(unsigned long)))
		return false;
	return user_size == size && IS_ALIGNED(size, sizeof(unsigned long));
}

int quiesce_helper_copy_in(void *dst, size_t size, unsigned long src, size_t user_size)
{
	const unsigned long __user *from = (const unsigned long __user *)src;
	unsigned long *to = dst;

	if (!quiesce_is_words(src, user_size, size))
		return copy_struct_from_user(dst, size, from, user_size);
	if (!user_read_access_begin(from, size))
		return -EFAULT;
	/* The macro may evaluate its arguments twice, as riscv's does. */
	for (; size; size -= sizeof(*to), to++, from++)
		unsafe_get_user(*to, from, fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}
EXPORT_SYMBOL_GPL(quiesce_helper_copy_in);

/* Whether what is to be written to ends on another page than it begins. */
static bool quiesce_straddles(unsigned long dst, size_t size)
{
	return offset_in_page(dst) + size > PAGE_SIZE;
}

/* Writes to user memory. Nothing has changed if that fails, unless it is unmapped meanwhile. */
int quiesce_helper_copy_out(unsigned long dst, size_t user_size, const void *src, size_t size)
{
	unsigned long __user *to = (unsigned long __user *)dst;
	const unsigned long *from = src;
	/* What is behind that is zero already. */
	size_t copied = min(user_size, size);

	if (quiesce_straddles(dst, copied)) {
		u8 __user *last = (u8 __user *)dst + copied - 1;
		u8 byte;

		if (get_user(byte, last) || put_user(byte, last))
			return -EFAULT;
	}
	if (!quiesce_is_words(dst, user_size, size))
		return copy_struct_to_user(to, user_size, src, size, NULL);
	if (!user_write_access_begin(to, size))
		return -EFAULT;
	for (; size; size -= sizeof(*from), from++, to++)
		unsafe_put_user(*from, to, fault);
	user_write_access_end();
	return 0;
fault:
	user_write_access_end();
	return -EFAULT;
}
EXPORT_SYMBOL_GPL(quiesce_helper_copy_out);

/* Whether the last byte of what ends on another page than it begins cannot be written. */
static bool quiesce_end_faults(unsigned long dst, size_t size)
{
	u8 __user *last = (u8 __user *)dst + size - 1;
	u8 byte;

	return quiesce_straddles(dst, size) &&
	       (copy_from_user_nofault(&byte, last, 1) || copy_to_user_nofault(last, &byte, 1));
}

/*
 * Writes to user memory with a lock held, without faulting pages in. On failure
 * nothing has changed, unless the memory is unmapped meanwhile.
 */
int quiesce_helper_put(unsigned long dst, const void *src, size_t size)
{
	unsigned long __user *to = (unsigned long __user *)dst;
	const unsigned long *from = src;

	if (quiesce_end_faults(dst, size))
		return -EFAULT;
	if (!quiesce_is_words(dst, size, size))
		return copy_to_user_nofault(to, src, size);
	pagefault_disable();
	if (!user_write_access_begin(to, size)) {
		pagefault_enable();
		return -EFAULT;
	}
	for (; size; size -= sizeof(*from), from++, to++)
		unsafe_put_user(*from, to, fault);
	user_write_access_end();
	pagefault_enable();
	return 0;
fault:
	user_write_access_end();
	pagefault_enable();
	return -EFAULT;
}
EXPORT_SYMBOL_GPL(quiesce_helper_put);

/*
 * Faults user memory in for writing, without changing it. The pages may be
 * reclaimed again.
 */
int quiesce_helper_fault_in(unsigned long dst, size_t size)
{
	const char __user *to = (const char __user *)dst;

	if (!access_ok(to, size) || fault_in_safe_writeable(to, size))
		return -EFAULT;
	cond_resched();
	return 0;
}
EXPORT_SYMBOL_GPL(quiesce_helper_fault_in);
