/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _QUIESCE_KUNIT_GATE_H
#define _QUIESCE_KUNIT_GATE_H

void quiesce_gate_wait(unsigned int place);
void quiesce_gate_set_callee(void (*func)(void));
void quiesce_gate_call(void);
void quiesce_gate_lend(unsigned int which, const void *address);
const void *quiesce_gate_lent(unsigned int which);

#endif /* _QUIESCE_KUNIT_GATE_H */
