# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions and variables that every script of the harness shares: the paths,
# progress messages, cached build steps, and running a command inside a build
# root. Sourced, never executed.

set -euo pipefail
shopt -s inherit_errexit

# An ordinary user's PATH has no chroot, and cron's no HOME.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"

# Exit codes, the same in every script and in judge.py.
# shellcheck disable=SC2034 # all of these are for the scripts that source this
EX_TESTS=1 EX_ENV=2 EX_CRASH=3

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034
QEMU_DIR=$TOP/qemu
# Absolute: it is also a place in the build roots.
CACHE=$(realpath -ms -- "${XDG_CACHE_HOME:-$HOME/.cache}/quiesce")
BUILD=$TOP/.build
JOBS=${JOBS:-$(nproc)}

START=${QUIESCE_START:-$(date +%s)}
export QUIESCE_START=$START

say() { printf '%s\n' "$*" >&2; }

# stamp: seconds since the command began, as m:ss.
stamp() {
	local s=$(($(date +%s) - START))
	printf '%d:%02d' $((s / 60)) $((s % 60))
}

die() {
	say "quiesce: $*"
	exit "$EX_ENV"
}

# Kbuild takes a blank for the end of a path.
for dir in "$TOP" "$CACHE"; do
	[[ $dir != *[[:space:]]* ]] || die "'$dir' has a space in it, and the kernel's build system cannot build there"
done
unset dir

# strict COMMAND...: runs a shell function as a separate script. If the caller tests
# the result, by || or if, bash ignores set -e in all nested calls and subshells, and
# a function that fails in the middle would continue. Its variables are copies.
strict() {
	local name state declared flags
	if [ "$(type -t "$1")" != function ]; then
		"$@"
		return
	fi
	state=$(declare -f)
	for name in $(compgen -v); do
		case $name in
		BASH* | COMP_* | EPOCH* | FUNCNAME | DIRSTACK | GROUPS | HISTCMD | LINENO | OPT* | PIPESTATUS | *RANDOM | SECONDS | _ | name | state | declared | flags) continue ;;
		esac
		declared=$(declare -p "$name" 2>/dev/null) || continue
		read -r _ flags _ <<<"$declared"
		# Exported variables are inherited; readonly ones exist already or cannot be set.
		[[ $flags == *[rx]* ]] || state+=$'\n'$declared
	done
	bash -euo pipefail -O inherit_errexit -c "$state"$'\n"$@"' "$0" "$@"
}

# log_of WHAT: the log of the step of that name.
log_of() { printf '%s/logs/%s.log\n' "$BUILD" "$(printf '%s' "$1" | tr -cs 'A-Za-z0-9.+-' _)"; }

# step "what" command...: runs a long command with its output in a log, shows a
# line that counts the seconds on a terminal, and the log's end if it fails.
step() {
	local what=$1 log begin rc=0
	shift
	mkdir -p "$BUILD/logs"
	log=$(log_of "$what")
	begin=$(date +%s)
	printf '[%5s] %s ...' "$(stamp)" "$what" >&2
	strict "$@" >"$log" 2>&1 </dev/null &
	local pid=$!
	while kill -0 $pid 2>/dev/null; do
		if [ -t 2 ]; then
			printf '\r[%5s] %s ... %d s' "$(stamp)" "$what" $(($(date +%s) - begin)) >&2
		fi
		sleep 0.2
	done
	wait $pid || rc=$?
	if [ $rc = 0 ]; then
		[ -t 2 ] && printf '\r[%5s] %s ...' "$(stamp)" "$what" >&2
		printf ' done, %d s\n' $(($(date +%s) - begin)) >&2
		return 0
	fi
	printf ' FAILED after %d s; ' $(($(date +%s) - begin)) >&2
	explain "$log" || {
		printf 'the end of %s:\n' "$log"
		tail -n 40 "$log"
	} >&2
	return $rc
}

# explain LOG: one line for what this machine lacks, if that is why a step failed.
explain() {
	local line
	if line=$(grep -m 1 'No space left on device' "$1"); then
		say "the disk is full: $line"
	elif line=$(grep -m 1 'Temporary failure resolving\|Could not resolve\|Could not connect\|Unable to connect\|Connection timed out\|Connection refused\|Network is unreachable' "$1"); then
		say "the archive cannot be reached: $line"
	else
		return 1
	fi
	say "        (all of it is in $1)"
}

# need_space DIR MB WHAT: stops before it begins if DIR has no room for it.
need_space() {
	local dir=$1 free
	mkdir -p "$dir" 2>/dev/null || true
	[ -w "$dir" ] || die "cannot write to $dir (XDG_CACHE_HOME= names another place for the cache)"
	free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] || die "$3 needs $2 MB in $dir, and $free MB are free there"
}

# key FILE|STRING...: a short hash of files' contents and of plain strings.
key() {
	local x
	for x in "$@"; do
		if [ -f "$x" ]; then cat "$x"; else printf '%s\n' "$x"; fi
	done | sha256sum | cut -c1-12
}

# remove_tree DIR: removes it, and nothing of what is mounted in it: an interrupted
# mmdebstrap leaves /proc, /sys and /dev mounted.
remove_tree() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	ns bash -c '
		awk -v dir="$1/" "index(\$5, dir) == 1 { print \$5 }" /proc/self/mountinfo | tac | while read -r at; do
			umount --lazy "$at" 2>/dev/null || true
		done
		rm -rf --one-file-system "$1"' remove_tree "$1"
}

# once DIR MAKER [ARG...]: builds DIR once by running MAKER ARG... DIR. DIR is valid
# only if DIR/.done exists; leftovers of an interrupted run are removed. Concurrent
# runs are serialized by a lock.
once() {
	local dir=$1
	shift
	[ -e "$dir/.done" ] && return 0
	mkdir -p "$CACHE"
	(
		flock 9
		[ -e "$dir/.done" ] && exit 0
		if [ -e "$dir" ]; then remove_tree "$dir"; fi
		strict "$@" "$dir" || exit
		: >"$dir/.done"
	) 9>"$dir.lock"
}

# in_table PROFILE STATUS: adds a failure for a status that no line of the table
# explains, which is then an error of the harness.
in_table() {
	[ "$2" != 0 ] || return 0
	awk -v p="$1" '$1 == p && $4 { found = 1 } END { exit !found }' "$TABLE" ||
		echo "$1 (harness) 0 1 0 -" >>"$TABLE"
}

# ns COMMAND...: runs it as root of a mount namespace; without root, of a user
# namespace that has this user's subordinate ids too.
ns() {
	if [ "$(id -u)" = 0 ]; then
		unshare --mount --propagation private -- "$@"
	else
		unshare --mount --propagation private --map-root-user --map-auto -- "$@"
	fi
}

# covers ROOT DIR: whether the build root has files of its own at DIR's path. What is in
# the homes and in /tmp is not needed.
covers() {
	# A folder at its own place hides nothing.
	[ ! "$1$2" -ef "$2" ] || return 1
	case $2 in
	/root | /root/* | /home | /home/* | /tmp | /tmp/*) return 1 ;;
	esac
	[ -n "$(find "$1$2/" -not -type d -print -quit 2>/dev/null)" ]
}

# in_root ROOT COMMAND...: runs a command inside a build root, in the caller's
# folder. The checkout and the cache are there at the paths they have outside.
in_root() {
	local root=$1 dir
	shift
	for dir in "$CACHE" "$TOP" "$PWD"; do
		! covers "$root" "$dir" || die "a build root has files of its own in $dir: start this in another folder, the checkout for instance"
	done
	# shellcheck disable=SC2016 # expanded by the inner shell
	ns bash -c '
		set -e
		root=$1 cache=$2 top=$3 dir=$4; shift 4
		mount --rbind /proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		for d in "$cache" "$top" "$dir" ${QUIESCE_BIND:-}; do
			mkdir -p "$root$d"
			mount --rbind "$d" "$root$d"
		done
		exec chroot "$root" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			bash -c "cd \"\$0\" && exec \"\$@\"" "$dir" "$@"
	' in_root "$root" "$CACHE" "$TOP" "$PWD" "$@"
}

# tracked [PATTERN...]: the files of the checkout, new ones too, without what a build
# leaves. Without git, or in an unpacked archive, by the names that .gitignore has.
tracked() {
	local file pattern expression=()
	cd "$TOP"
	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory="$TOP" ls-files -co --exclude-standard -- "$@"
	else
		for pattern; do
			# As for git, a folder's name is all that is in it.
			expression+=(-o -path "./$pattern" -o -path "./$pattern/*")
		done
		[ $# != 0 ] || expression=(-o -true)
		find . \( -name .git -o -path ./.build -o -name __pycache__ \) -prune -o -type f \
			! \( -name '*.o' -o -name '*.o.d' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '*.a' -o -name '*.so' \
			-o -name '*.rmeta' -o -name '.*.cmd' -o -name '.*.d' -o -name modules.order -o -name Module.symvers \
			-o -name '*_generated.*' -o -name rust-project.json -o -name '.checkpatch-camelcase*' -o -path ./src/user/Cargo.lock -o -path ./qemu/rust/Cargo.lock \) \
			\( "${expression[@]:1}" \) -print | sed 's|^\./||'
	fi | sort -u | while read -r file; do
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done
}

# need_host: what the host itself has to have. Installs it when it may, names the
# one line to run when it may not.
need_host() {
	local missing=() tool
	for tool in mmdebstrap:mmdebstrap unshare:util-linux flock:util-linux python3:python3-minimal; do
		command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
	done
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
	if [ "$(id -u)" != 0 ]; then
		command -v newuidmap >/dev/null || missing+=(uidmap)
	fi
	[ ${#missing[@]} = 0 ] && return 0
	command -v apt-get >/dev/null ||
		die "missing on this machine: ${missing[*]} (and there is no apt-get to install them with)"
	if [ "$(id -u)" != 0 ]; then
		die "missing on this machine: run  sudo apt-get install ${missing[*]}"
	fi
	step "Installing ${missing[*]} on this machine" \
		sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"' sh "${missing[@]}" ||
		die "could not install: ${missing[*]}"
}
