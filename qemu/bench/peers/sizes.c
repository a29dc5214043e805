// SPDX-License-Identifier: GPL-2.0
/* As large as the peers' objects, for who reads the object file. */
#include "../bench.h"

char sizeof_peer_rundown[sizeof(atomic_long_t)];
/* Without the counts of the CPUs, as ours. */
char sizeof_peer_rundown_percpu[sizeof(struct percpu_ref) + sizeof(struct percpu_ref_data)];
char sizeof_peer_seqlock[sizeof(struct locked)];
char sizeof_peer_rcu_cell[sizeof(void *)];
char sizeof_peer_rcu_object[sizeof(struct node)];
