/* SPDX-License-Identifier: GPL-2.0 */
/* Functions that control.c and quiesce_torture.rs call in each other. */
#ifndef _QUIESCE_TORTURE_CONTROL_H
#define _QUIESCE_TORTURE_CONTROL_H

/* In Rust */
int quiesce_torture_run(const char *part, const char *mutant, unsigned int seconds,
			unsigned int workers);
int quiesce_torture_fault(const char *name);

/* In C */
void quiesce_torture_migrate(int cpu);
void quiesce_torture_fifo(void);
void quiesce_torture_result(const char *text);

#endif /* _QUIESCE_TORTURE_CONTROL_H */
