/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Run-down protection for C: what <wdm.h> has for NT drivers, by the same names in
 * the kernel's spelling. The Rust API, quiesce::rundown, says more about each.
 *
 *	ExInitializeRundownProtection		ex_initialize_rundown_protection()
 *	ExAcquireRundownProtection(Ex)		ex_acquire_rundown_protection(_ex)()
 *	ExReleaseRundownProtection(Ex)		ex_release_rundown_protection(_ex)()
 *	ExWaitForRundownProtectionRelease	ex_wait_for_rundown_protection_release()
 *	ExRundownCompleted			ex_rundown_completed()
 *	ExReInitializeRundownProtection		ex_re_initialize_rundown_protection()
 *
 * and the same with _cache_aware for the form with a counter per CPU.
 */
#ifndef _QUIESCE_RUNDOWN_H
#define _QUIESCE_RUNDOWN_H

#include <linux/lockdep.h>
#include <linux/types.h>

/**
 * struct ex_rundown_ref - protects an object from being run down while it is used
 *
 * The fields are private. The object, and this with it, may be freed as soon as a
 * wait for its rundown has returned.
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
 * For what is published before it is ready: acquiring fails until
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
 * Context: any, before anything else is done with @ref.
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
 * Context: any; NMI where cmpxchg() is safe there. Acquire ordering on success.
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
 * Releasing what was not acquired is a bug in the caller: it is warned of, and the
 * object is leaked.
 *
 * Context: any, but under locks that waking a task takes. Release ordering.
 */
void ex_release_rundown_protection(struct ex_rundown_ref *ref);

/**
 * ex_release_rundown_protection_ex - release a number of times
 * @ref: the reference
 * @count: how many times
 *
 * Context: as ex_release_rundown_protection().
 */
void ex_release_rundown_protection_ex(struct ex_rundown_ref *ref, unsigned long count);

/**
 * ex_wait_for_rundown_protection_release - begin the rundown, wait until all let go
 * @ref: the reference
 *
 * Acquiring fails from now on. If the object is run down already, this returns at
 * once. Any number of tasks may wait. What was done under the protection happens
 * before the return.
 *
 * Context: process, sleeps uninterruptibly.
 *
 * Return: 0. If the count is saturated, of which there was a warning, -EOVERFLOW:
 * then the object is leaked and must not be freed.
 */
int ex_wait_for_rundown_protection_release(struct ex_rundown_ref *ref);

/**
 * ex_wait_for_rundown_protection_release_timeout - as above, for some time at most
 * @ref: the reference
 * @timeout: in jiffies
 *
 * Context: as above.
 *
 * Return: as above, or -ETIMEDOUT: then the rundown goes on, and one may wait again.
 */
int ex_wait_for_rundown_protection_release_timeout(struct ex_rundown_ref *ref,
						   unsigned long timeout);

/**
 * ex_rundown_completed - say that the object is run down
 * @ref: the reference, which was waited for
 *
 * As a wait leaves nothing to be done, unlike NT's, this only warns if the object is
 * not run down.
 *
 * Context: any.
 */
void ex_rundown_completed(struct ex_rundown_ref *ref);

/**
 * ex_re_initialize_rundown_protection - let the object be acquired again
 * @ref: the reference, which was waited for
 *
 * Warns, and does nothing, if the object is not run down.
 *
 * Context: any but NMI.
 */
void ex_re_initialize_rundown_protection(struct ex_rundown_ref *ref);

/*
 * The form with a counter per CPU: acquiring and releasing on several CPUs share no
 * cache line, and a wait takes a grace period of RCU.
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
 * ex_free_cache_aware_rundown_protection - free what was allocated
 * @ref: the reference, without holders
 *
 * Context: process, may sleep.
 */
void ex_free_cache_aware_rundown_protection(struct ex_rundown_ref_cache_aware *ref);

/**
 * ex_size_of_rundown_protection_cache_aware - what a buffer of the caller's needs
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
 * @ref: the reference, without holders
 *
 * NT does not need it, as the counters are in the buffer there; here they are the
 * per-CPU allocator's.
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
int ex_wait_for_rundown_protection_release_cache_aware(struct ex_rundown_ref_cache_aware *ref);
int
ex_wait_for_rundown_protection_release_cache_aware_timeout(struct ex_rundown_ref_cache_aware *ref,
							   unsigned long timeout);
void ex_rundown_completed_cache_aware(struct ex_rundown_ref_cache_aware *ref);
void ex_re_initialize_rundown_protection_cache_aware(struct ex_rundown_ref_cache_aware *ref);

#endif /* _QUIESCE_RUNDOWN_H */
