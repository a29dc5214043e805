#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# libquiesce.sh: libquiesce without the device, on the host. Its headers in every
# standard, its builds, its symbols, and programs that are older or newer than the
# library. Prints KTAP.

. "$(dirname "$0")/lib.sh"

ROOT=$("$QEMU_DIR/buildroot.sh")
LIB=$TOP/src/libquiesce
UAPI=$TOP/src/uapi
HERE=$QEMU_DIR/libquiesce
WORK=$BUILD/libquiesce
WARN='-Wall -Wextra -Wpedantic -Werror'
rm -rf "$WORK"
mkdir -p "$WORK"

# build NAME [SOURCE] [VARIABLE=VALUE...]: the library, in WORK/NAME.
build() {
	local name=$1 source=$LIB
	shift
	if [ -d "${1:-}" ]; then source=$1; shift; fi
	in_root "$ROOT" make -s -C "$source" O="$WORK/$name" "$@" >"$WORK/$name.log" 2>&1
}

# compile OUT LIBS COMMAND...: a program against the headers.
compile() {
	local out=$1 libs=$2
	shift 2
	# shellcheck disable=SC2086 # words
	in_root "$ROOT" "$@" -I"$LIB" -I"$UAPI" -o "$WORK/$out" "${SOURCE:-$HERE/user.c}" -x none $libs
}

# run PROGRAM [LIBRARY]: with the shared library of WORK/LIBRARY.
run() { in_root "$ROOT" env LD_LIBRARY_PATH="$WORK/${2:-}" timeout 60 "$WORK/$1"; }

# standard LANGUAGE STANDARD: both the static and the shared library.
standard() {
	local cc=gcc
	[ "$1" = c ] || cc=g++
	# shellcheck disable=SC2086 # words
	compile "$2-static" "$WORK/gcc/libquiesce.a" $cc -x "$1" -std="$2" $WARN -D_POSIX_C_SOURCE=200809L &&
		compile "$2-shared" "-L$WORK/gcc -lquiesce" $cc -x "$1" -std="$2" $WARN -D_POSIX_C_SOURCE=200809L &&
		run "$2-static" && run "$2-shared" gcc
}

# exported LIBRARY: the names that it defines, without their version.
exported() { in_root "$ROOT" nm -D --defined-only "$1" | sed -n 's/.* T \([a-z_]*\)@@LIBQUIESCE_1.0$/\1/p' | sort; }

# declared: the functions of the headers.
declared() {
	sed -e '/^ \*/d' -e 's,/\*.*,,' "$LIB/barrier.h" "$LIB/quiesce-group.h" |
		grep -o '\b\(barrier\|quiesce\)_[a-z_]*(' | tr -d '(' | sort -u
}

# grow FOLDER: the library's sources with structs that have got longer.
grow() {
	mkdir -p "$1/uapi"
	cp -r "$LIB" "$1/libquiesce"
	sed '/^struct quiesce_cause {/,/^};/b; s/^};/\t__u64 grown[4];\n};/' "$UAPI/quiesce.h" >"$1/uapi/quiesce.h"
}

old_program() {
	SOURCE=$HERE/app.c compile app "-L$WORK/gcc -lquiesce" gcc && run app gcc && run app grown
}

new_program() {
	in_root "$ROOT" gcc -DGROWN -I"$WORK/new/libquiesce" -I"$WORK/new/uapi" -o "$WORK/newer" "$HERE/app.c" \
		-L"$WORK/gcc" -lquiesce && run newer grown && run newer gcc
}

control() {
	SOURCE=$HERE/app.c compile overwritten "-L$WORK/gcc -lquiesce" gcc -DOVERWRITTEN && ! run overwritten gcc
}

symbols() { diff <(declared) <(exported "$WORK/gcc/libquiesce.so.1"); }

# errnos FILE: the error numbers that it names.
errnos() { grep -o '\bE[A-Z0-9]\{3,\}\b' "$1" | grep -v '^EPOLL\|^EVENT\|^EXEC$\|^EXIT$' | sort -u; }

# Each error that the interface has is in its manual page, and each of a group's in the library's.
manual_errors() {
	local pair='ESHUTDOWN EOVERFLOW'
	errnos "$UAPI/quiesce.h" | comm -23 - <(errnos "$LIB/man/quiesce.4") | grep . && return 1
	errnos "$UAPI/quiesce.h" | grep -vxF "${pair// /$'\n'}" | comm -23 - <(errnos "$LIB/man/quiesce_group.3") | grep . && return 1
	return 0
}

# Each function has a manual page.
manual_functions() {
	local f
	for f in $(declared | grep -v '_sized$'); do
		grep -q "^\.Fn $f " "$LIB"/man/*.3 || { echo "no .Fn $f"; return 1; }
	done
}

# Compiles a program that uses the types and members of systemd's header.
source_compatible() {
	printf '%s\n' '#include "barrier.h"' 'static Barrier b = BARRIER_NULL;' \
		'int f(int (*create)(Barrier *), bool (*place)(Barrier *), Barrier *(*destroy)(Barrier *));' \
		'int main(void) { int64_t n = b.barriers; return n || b.me != b.pipe[0] || b.them != b.pipe[1] ||' \
		'b.me != -EBADF || sizeof(b) != 24 || BARRIER_I_ABORTED != INT64_MIN + 3; }' >"$WORK/member.c"
	SOURCE=$WORK/member.c compile member "$WORK/gcc/libquiesce.a" gcc && run member
}

musl() {
	build musl CC="musl-gcc -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu" &&
		compile musl/user "$WORK/musl/libquiesce.a" musl-gcc -static -idirafter /usr/include \
			-idirafter /usr/include/x86_64-linux-gnu && run musl/user
}

bits32() {
	build m32 CC="gcc -m32" && compile m32/user "$WORK/m32/libquiesce.a" gcc -m32 -static &&
		compile m32/shared "-L$WORK/m32 -lquiesce" gcc -m32 && run m32/user && run m32/shared m32 &&
		compile m32/cxx "$WORK/m32/libquiesce.a" g++ -m32 -x c++ -static
}

# Each header alone, without a feature macro.
headers_alone() {
	local h
	for h in "$LIB/barrier.h" "$LIB/quiesce-group.h" "$UAPI/quiesce.h"; do
		# shellcheck disable=SC2086 # words
		in_root "$ROOT" gcc -std=c99 $WARN -I"$LIB" -I"$UAPI" -fsyntax-only -x c "$h" &&
			in_root "$ROOT" g++ -std=c++98 $WARN -I"$LIB" -I"$UAPI" -fsyntax-only -x c++ "$h" || return 1
	done
}

# Nothing but the names of the library may be seen of it in a static program.
namespace() {
	! in_root "$ROOT" nm --defined-only --extern-only "$WORK/gcc/libquiesce.a" | grep ' [A-Z] ' |
		grep -v ' [A-Z] \(barrier\|quiesce\)_'
}

# The sample that polls a barrier reports that it cannot, where there is no device.
sample_without_device() {
	local out rc=0
	[ ! -e /dev/quiesce ] || return 0
	out=$(timeout 60 "$BUILD/user/samples/epoll_server" 2>&1) || rc=$?
	[ "$rc" = 1 ] && grep -q '^epoll_server: .*/dev/quiesce' <<<"$out"
}

# A program whose time_t has 64 bits does not link with a library whose time_t has 32, and
# runs with one that was built as it is.
time_bits() {
	local flags='-m32 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64'
	# shellcheck disable=SC2086 # words
	build time64 CC="gcc $flags" && compile m32/time64 "$WORK/time64/libquiesce.a" gcc $flags -static && run m32/time64 &&
		compile m32/time64_shared "-L$WORK/time64 -lquiesce" gcc $flags && run m32/time64_shared time64 || return 1
	# shellcheck disable=SC2086 # words
	! compile m32/mixed "$WORK/m32/libquiesce.a" gcc $flags -static 2>"$WORK/mixed" || return 1
	grep -q 'undefined reference to .barrier_sync_until_time64' "$WORK/mixed" &&
		! compile m32/mixed "$WORK/time64/libquiesce.a" gcc -m32 -static
}

tests=()
for s in c99 c11 c17 gnu23; do tests+=("standard c $s"); done
for s in c++98 c++11 c++14 c++17 c++20 gnu++23; do tests+=("standard c++ $s"); done
tests+=(headers_alone bits32 time_bits sample_without_device musl symbols manual_functions manual_errors namespace source_compatible old_program new_program control)
for t in systemd_fallback library_fallback systemd_fallback_32; do tests+=("behaviour $t"); done

# behaviour PROGRAM: the suite of qemu/tests, here.
behaviour() { timeout 600 "$BUILD/user/qemu/tests/$1"; }

build gcc || die "libquiesce does not build: $(tail -n 3 "$WORK/gcc.log")"
grow "$WORK/new"
build grown "$WORK/new/libquiesce" || die "libquiesce does not build with longer structs"

echo "KTAP version 1"
echo "1..${#tests[@]}"
n=0 failed=0
for t in "${tests[@]}"; do
	n=$((n + 1))
	# shellcheck disable=SC2086 # words
	if $t >"$WORK/test.log" 2>&1; then
		echo "ok $n ${t// /_}"
	else
		sed 's/^/# /' "$WORK/test.log"
		echo "not ok $n ${t// /_}"
		failed=1
	fi
done
exit $failed
