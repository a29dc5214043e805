/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Run-down protection for C: the functions that <wdm.h> has for NT drivers, by the
 * same names in the kernel's spelling. The Rust API is quiesce::rundown.
 *
 *	ExInitializeRundownProtection		ex_initialize_rundown_protection()
 *	ExAcquireRundownProtection(Ex)		ex_acquire_rundown_protection(_ex)()
 *	ExReleaseRundownProtection(Ex)		ex_release_rundown_protection(_ex)()
 *	ExWaitForRundownProtectionRelease	ex_wait_for_rundown_protection_release()
 *	ExRundownCompleted			ex_rundown_completed()
 *	ExReInitializeRundownProtection		ex_re_initialize_rundown_protection()
 *
 * and the same with _cache_aware for the variant with a counter per CPU, which exists
 * on 64-bit architectures.
 *
 * Contexts: acquiring and releasing are allowed in any context, and in an NMI where
 * cmpxchg() is (x86_64, arm64); also the last release, on PREEMPT_RT too. The only
 * exception are locks that waking a task takes. Waits need process context, except one
 * with a timeout of 0 of the variant in one word, and so does everything else about the
 * cache-aware variant; they warn once and return -EAGAIN where the caller cannot sleep.
 * The other functions are allowed in any context but NMI.
 */
#ifndef _QUIESCE_RUNDOWN_H
#define _QUIESCE_RUNDOWN_H

#include <linux/lockdep.h>
#include <linux/types.h>

/**
 * struct ex_rundown_ref - protects an object from being run down while it is used
 *
 * The fields are private. The object, and this with it, may be freed when no task
 * can acquire it any more and every wait for its rundown has returned: a wait that
 * has not returned reads the reference. The last release may still be in progress
 * then; it does not access the reference any more.
 */
struct ex_rundown_ref {
	/* private: */
	unsigned long word;
#ifdef CONFIG_LOCKDEP
	struct lockdep_map dep_map;
#endif
};

#ifdef CONFIG_LOCKDEP
#define __EX_RUNDOWN_DEP_MAP(ref) .dep_map = STATIC_LOCKDEP_MAP_INIT(#ref, &(ref)),
#else
#define __EX_RUNDOWN_DEP_MAP(ref)
#endif

/**
 * EX_RUNDOWN_REF_INIT - static initialiser of a live reference
 * @ref: the variable that is initialised
 */
#define EX_RUNDOWN_REF_INIT(ref) { .word = 1, __EX_RUNDOWN_DEP_MAP(ref) }

/**
 * EX_RUNDOWN_REF_INIT_RUN_DOWN - static initialiser of a reference that is run down
 * @ref: the variable that is initialised
 *
 * For an object that is published before it is ready: acquiring fails until
 * ex_re_initialize_rundown_protection().
 */
#define EX_RUNDOWN_REF_INIT_RUN_DOWN(ref) { .word = 0, __EX_RUNDOWN_DEP_MAP(ref) }

/* Defines a live reference. */
#define DEFINE_EX_RUNDOWN_REF(name) struct ex_rundown_ref name = EX_RUNDOWN_REF_INIT(name)

void __ex_initialize_rundown_protection(struct ex_rundown_ref *ref, const char *name,
					struct lock_class_key *key);

/**
 * ex_initialize_rundown_protection - make a live reference without holders
 * @ref: the reference
 *
 * Context: any, before any other function is called with @ref.
 */
#define ex_initialize_rundown_protection(ref)				\
do {									\
	static struct lock_class_key __key;				\
									\
	__ex_initialize_rundown_protection(ref, #ref, &__key);		\
} while (0)

/**
 * ex_acquire_rundown_protection - use the object, if its rundown has not begun
 * @ref: the reference
 *
 * Context: any, see above. Acquire ordering on success.
 *
 * Return: true if the object can be used until the release; false if it must be
 * treated as gone.
 */
bool __must_check ex_acquire_rundown_protection(struct ex_rundown_ref *ref);

/**
 * ex_acquire_rundown_protection_ex - acquire a number of times, or not at all
 * @ref: the reference
 * @count: how many times
 *
 * Context: as ex_acquire_rundown_protection().
 *
 * Return: true if they were acquired; false if the rundown has begun, if @count is
 * zero or if there would be more holders than can be counted.
 */
bool __must_check ex_acquire_rundown_protection_ex(struct ex_rundown_ref *ref,
						   unsigned long count);

/**
 * ex_release_rundown_protection - end the use of the object
 * @ref: the reference
 *
 * Releasing more than was acquired is a bug in the caller: there is a warning, and
 * the object is leaked: it will never be run down.
 *
 * Context: any, see above. Release ordering.
 */
void ex_release_rundown_protection(struct ex_rundown_ref *ref);

/**
 * ex_release_rundown_protection_ex - release a number of times
 * @ref: the reference
 * @count: how many times
 *
 * Warns, and releases nothing, if @count cannot have been acquired: if it is zero, or
 * larger than any count that ex_acquire_rundown_protection_ex() accepts.
 *
 * Context: as ex_release_rundown_protection().
 */
void ex_release_rundown_protection_ex(struct ex_rundown_ref *ref, unsigned long count);

/**
 * ex_wait_for_rundown_protection_release - begin the rundown, wait for all holders
 * @ref: the reference
 *
 * Acquiring fails from now on. If the object is run down already, this returns at
 * once. Any number of tasks may wait. Everything done under the protection happens
 * before the return.
 *
 * Context: process, sleeps uninterruptibly.
 *
 * Return: 0, or an error, after which the object must not be freed: -EOVERFLOW if the
 * count is saturated, of which there was a warning; -EAGAIN, with a warning, where the
 * caller cannot sleep.
 */
int __must_check ex_wait_for_rundown_protection_release(struct ex_rundown_ref *ref);

/**
 * ex_wait_for_rundown_protection_release_timeout - wait for a limited time
 * @ref: the reference
 * @timeout: in jiffies; with 0, this begins the rundown and polls its state
 *
 * Context: as ex_wait_for_rundown_protection_release(); any but NMI if @timeout is 0.
 *
 * Return: as ex_wait_for_rundown_protection_release(), or -ETIMEDOUT: then the rundown
 * goes on, and the caller may wait again.
 */
int __must_check ex_wait_for_rundown_protection_release_timeout(struct ex_rundown_ref *ref,
								unsigned long timeout);

/**
 * ex_wait_for_rundown_protection_release_interruptible - wait until a signal
 * @ref: the reference
 *
 * Context: as ex_wait_for_rundown_protection_release().
 *
 * Return: as ex_wait_for_rundown_protection_release(), or -ERESTARTSYS if a signal is
 * pending: then the rundown goes on, and the caller may wait again.
 */
int __must_check ex_wait_for_rundown_protection_release_interruptible(struct ex_rundown_ref *ref);

/**
 * ex_wait_for_rundown_protection_release_killable - wait until a fatal signal
 * @ref: the reference
 *
 * Context and return value: as ex_wait_for_rundown_protection_release_interruptible().
 */
int __must_check ex_wait_for_rundown_protection_release_killable(struct ex_rundown_ref *ref);

/**
 * ex_rundown_completed - check that the object is run down
 * @ref: the reference, which was waited for
 *
 * Nothing is left to be done after a wait, unlike in NT, so that this only warns if the
 * object is not run down.
 *
 * Context: any.
 */
void ex_rundown_completed(struct ex_rundown_ref *ref);

/**
 * ex_re_initialize_rundown_protection - let the object be acquired again
 * @ref: the reference, which was waited for
 *
 * Context: any but NMI; process for the cache-aware variant.
 *
 * Return: 0; -EBUSY or -EOVERFLOW, with a warning and without effect, if the object is
 * not run down; -EAGAIN, with a warning, where the caller may not call this.
 */
int ex_re_initialize_rundown_protection(struct ex_rundown_ref *ref);

#ifdef CONFIG_64BIT
/*
 * The variant with a counter per CPU: acquiring and releasing on several CPUs share no
 * cache line, and a wait takes a grace period of RCU. The functions are as those above.
 */
struct ex_rundown_ref_cache_aware;

struct ex_rundown_ref_cache_aware *
__ex_allocate_cache_aware_rundown_protection(const char *name, struct lock_class_key *key);
struct ex_rundown_ref_cache_aware *
__ex_initialize_rundown_protection_cache_aware(void *buffer, size_t size, const char *name,
					       struct lock_class_key *key);

/**
 * ex_allocate_cache_aware_rundown_protection - make a live reference
 *
 * Context: process, may sleep.
 *
 * Return: the reference, or NULL if there is no memory.
 */
#define ex_allocate_cache_aware_rundown_protection()			\
({									\
	static struct lock_class_key __key;				\
									\
	__ex_allocate_cache_aware_rundown_protection("ex_rundown_ref_cache_aware", &__key); \
})

/**
 * ex_free_cache_aware_rundown_protection - free a reference
 * @ref: the reference, without holders; every wait for it has returned
 *
 * Context: process, may sleep.
 */
void ex_free_cache_aware_rundown_protection(struct ex_rundown_ref_cache_aware *ref);

/**
 * ex_size_of_rundown_protection_cache_aware - size of a buffer for a reference
 *
 * Return: the size in bytes; the alignment is that of a pointer.
 */
size_t ex_size_of_rundown_protection_cache_aware(void);

/**
 * ex_initialize_rundown_protection_cache_aware - make a live reference in a buffer
 * @buffer: aligned as a pointer
 * @size: the size of the buffer
 *
 * Context: process, may sleep.
 *
 * Return: the reference, to be undone by
 * ex_uninitialize_rundown_protection_cache_aware(); NULL if the buffer is too small
 * or there is no memory for the counters.
 */
#define ex_initialize_rundown_protection_cache_aware(buffer, size)	\
({									\
	static struct lock_class_key __key;				\
									\
	__ex_initialize_rundown_protection_cache_aware(buffer, size, #buffer, &__key); \
})

/**
 * ex_uninitialize_rundown_protection_cache_aware - undo the initialisation
 * @ref: the reference, without holders; every wait for it has returned
 *
 * NT has no such function, as its counters are in the buffer. Here they are allocated.
 *
 * Context: process, may sleep.
 */
void ex_uninitialize_rundown_protection_cache_aware(struct ex_rundown_ref_cache_aware *ref);

bool __must_check
ex_acquire_rundown_protection_cache_aware(struct ex_rundown_ref_cache_aware *ref);
bool __must_check
ex_acquire_rundown_protection_cache_aware_ex(struct ex_rundown_ref_cache_aware *ref,
					     unsigned long count);
void ex_release_rundown_protection_cache_aware(struct ex_rundown_ref_cache_aware *ref);
void ex_release_rundown_protection_cache_aware_ex(struct ex_rundown_ref_cache_aware *ref,
						  unsigned long count);
int __must_check
ex_wait_for_rundown_protection_release_cache_aware(struct ex_rundown_ref_cache_aware *ref);
int __must_check
ex_wait_for_rundown_protection_release_cache_aware_timeout(struct ex_rundown_ref_cache_aware *ref,
							   unsigned long timeout);
int __must_check ex_wait_for_rundown_protection_release_cache_aware_interruptible
(struct ex_rundown_ref_cache_aware *ref);
int __must_check ex_wait_for_rundown_protection_release_cache_aware_killable
(struct ex_rundown_ref_cache_aware *ref);
void ex_rundown_completed_cache_aware(struct ex_rundown_ref_cache_aware *ref);
int ex_re_initialize_rundown_protection_cache_aware(struct ex_rundown_ref_cache_aware *ref);
#endif /* CONFIG_64BIT */

#endif /* _QUIESCE_RUNDOWN_H */
