#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes what the memory-model tests need: prints the command word that runs
# herd7. That is the herd7 of this machine if it has one. Otherwise a second,
# small build root is made, because trixie has no herdtools7: the package is in
# sid alone.

. "$(dirname "$0")/buildroot.sh"

make_herd_root() {
	bootstrap "$1" sid herdtools7 true
}

if command -v herd7 >/dev/null; then
	command -v herd7
	exit
fi
ROOT=$CACHE/herd-$(key "$(declare -f bootstrap try_bootstrap make_herd_root)")
if [ ! -e "$ROOT/.done" ]; then
	need_host
	once "$ROOT" step "Making the build root for herd7 (Debian sid; half a minute)" make_herd_root ||
		die "the build root for herd7 could not be made"
fi
printf '%s\n' "$ROOT"
