// SPDX-License-Identifier: GPL-2.0
/* The sizes that bench.h declares, read from the object file. */
#include "../bench.h"

typeof(sizeof_peer_rundown) sizeof_peer_rundown;
typeof(sizeof_peer_rundown_percpu) sizeof_peer_rundown_percpu;
typeof(sizeof_peer_seqlock) sizeof_peer_seqlock;
typeof(sizeof_peer_rcu_cell) sizeof_peer_rcu_cell;
typeof(sizeof_peer_rcu_object) sizeof_peer_rcu_object;
