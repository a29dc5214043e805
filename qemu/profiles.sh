# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # all of it is for the scripts that source this
#
# The kernels that the tests run on, one line a profile. Sourced.
#
#   profile NAME KIND CONFIG... -- what it is for
#
# KIND debian: a stock kernel of the archive, in the flavour that CONFIG names.
# KIND other:  a stock kernel of another architecture or of the next release: CONFIG is
#              flavour, architecture (as the kernel calls it) and build root.
# KIND own:    built here with LLVM=1 from linux-source, tinyconfig with the
#              fragments of qemu/kernel merged in.

declare -A PROFILE_KIND PROFILE_CONFIG PROFILE_TEXT PROFILE_ARCH PROFILE_ROOT
PROFILES=()

profile() {
	local name=$1 kind=$2 config=()
	shift 2
	while [ "$1" != -- ]; do
		config+=("$1")
		shift
	done
	shift
	PROFILES+=("$name")
	PROFILE_KIND[$name]=$kind
	PROFILE_CONFIG[$name]=${config[*]}
	PROFILE_ARCH[$name]=x86_64
	PROFILE_ROOT[$name]=main
	if [ "$kind" = other ]; then
		PROFILE_CONFIG[$name]=${config[0]}
		PROFILE_ARCH[$name]=${config[1]}
		PROFILE_ROOT[$name]=${config[2]}
	fi
	PROFILE_TEXT[$name]=$*
}

profile stock          debian cloud-amd64          -- "Debian's kernel, PREEMPT_DYNAMIC, built by gcc"
profile stock-rt       debian rt-amd64             -- "Debian's kernel, PREEMPT_RT, built by gcc"
profile lockdep        own    base lockdep         -- "lockdep, PROVE_RCU, DEBUG_OBJECTS, SLUB_TINY, Rust debug assertions, KUnit"
profile kasan-rt       own    base kasan-rt        -- "PREEMPT_RT, KASAN, kmemleak, UBSAN, failslab, KUnit"
profile up             own    base up              -- "no SMP: spin locks exclude nobody, preemptible RCU"
profile tiny           own    base up tiny-rcu     -- "no SMP and no preemptible RCU: TINY_RCU, TINY_SRCU"
profile stock-arm64    other  cloud-arm64 arm64 arm64 -- "Debian's arm64 kernel, cross-built; no preemptible RCU"
profile rt-arm64       other  rt-arm64 arm64 arm64    -- "Debian's arm64 kernel, PREEMPT_RT, cross-built"
profile next           other  cloud-amd64 x86_64 next -- "the newest kernel of sid or experimental, with sid's tool chain"
profile inline-helpers own    base inline-helpers  -- "RUST_INLINE_HELPERS, KUnit; for measuring"

# The profiles that `make test` runs when none is named.
DEFAULT_PROFILES="stock kasan-rt lockdep stock-rt stock-arm64"

# The profiles that run the kunit suites only, and what else qemu/suites names them for.
# One is short only where all the default ones run.
SHORT_PROFILES="up tiny"
[ -n "${PROFILE:-}" ] || SHORT_PROFILES+=" stock-arm64"

# need_profile NAME: stops when there is no such profile.
need_profile() {
	[ -n "${PROFILE_KIND[$1]:-}" ] || die "no profile '$1'; there are: ${PROFILES[*]}"
}

# profile_words NAME: what make needs for the profile's architecture.
profile_words() {
	[ "${PROFILE_ARCH[$1]}" = x86_64 ] || echo "ARCH=${PROFILE_ARCH[$1]} CROSS_COMPILE=aarch64-linux-gnu-"
}

# profile_user NAME: the folder of the profile's programs of user space.
profile_user() {
	[ "${PROFILE_ARCH[$1]}" = x86_64 ] && echo "$BUILD/user" || echo "$BUILD/user-${PROFILE_ARCH[$1]}"
}

# profile_memory NAME: the guest's memory in MB. KASAN takes an eighth for itself,
# and keeps for a while what is freed.
profile_memory() {
	case $1 in
	kasan*) echo 2048 ;;
	*) echo 1024 ;;
	esac
}

# profile_append NAME: words for the kernel's command line in tests. Debian's kernels
# can check what is written to freed memory and past its end; ours have KASAN, or
# SLUB_TINY, which has no checks.
profile_append() {
	case ${PROFILE_KIND[$1]} in
	debian | other) echo slab_debug=FZPU ;;
	esac
}

# profile_alive NAME: the kernel's checkers that must still work when the tests are
# over; the guest's alive.sh reports which do.
profile_alive() {
	case $1 in
	lockdep*) echo lockdep ;;
	kasan*) echo kmemleak ;;
	*) [ "${PROFILE_KIND[$1]}" = own ] || echo poison ;;
	esac
}
