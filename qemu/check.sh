#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh: the static checks: format, lints, warnings.

. "$(dirname "$0")/lib.sh"
cd "$TOP"

ROOT=$("$QEMU_DIR/buildroot.sh")
SOURCE=/usr/src/linux
failed=0

check() { step "$@" || failed=$((failed + 1)); }

format() {
	# shellcheck disable=SC2046 # names have no blanks
	in_root "$ROOT" rustfmt --check --edition 2021 --config-path "$SOURCE/.rustfmt.toml" $(tracked '*.rs')
}

lint() {
	local kernel
	kernel=$("$QEMU_DIR/kernel.sh" "$1")
	mkdir -p "$BUILD/clippy-$1"
	in_root "$ROOT" make modules KDIR="$kernel/build" MO="$BUILD/clippy-$1" CLIPPY=1 W=e
}

# Checks that do not apply to user-space programs: those for the kernel's types and
# macros, and for forms that kselftest_harness.h requires.
USER_C='^\(src/libquiesce\|src/uapi\|qemu\)/\|^samples/[^c]'
USER_IGNORE=PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,NEW_TYPEDEFS,BIT_MACRO,CAMELCASE,COMPLEX_MACRO

# patch [TYPES]: checkpatch over the files named on its input. This is not the
# kernel's tree, which some of its checks take for granted.
patch() {
	in_root "$ROOT" xargs -r perl "$SOURCE/scripts/checkpatch.pl" --no-tree --strict --terse --no-summary --show-types \
		--ignore "FILE_PATH_CHANGES,SPDX_LICENSE_TAG,EXPORT_SYMBOL,MACRO_ARG_REUSE${1:+,$1}" -f
}

# lint_built PROFILE: the lints over what the profile's build compiled, KUnit and
# torture too. Without code generation: that of unoptimised MIR, which CLIPPY=1 asks
# for, does not end for the KUnit suites.
lint_built() {
	local cmd source rc=0
	"$QEMU_DIR/build.sh" "$1" qemu/torture || return 1
	while read -r cmd; do
		# An earlier state of the tree may have had a source more.
		source=$(sed -n '1s/.* \([^ ]*\.rs\) .*/\1/p' "$cmd")
		[ "${source#/}" = "$source" ] || [ -e "$source" ] || continue
		in_root "$ROOT" env CLIPPY_CONF_DIR="$SOURCE" python3 "$QEMU_DIR/saved_command.py" "$cmd" clippy-driver -- \
			--crate-type rlib --emit=metadata="$BUILD/clippy.rmeta" SOURCE || rc=1
	done < <(find "$BUILD/$1" -name '.*.o.cmd' -not -path '*/stale/*' -not -path '*/crate/*' -exec grep -l ' rustc ' {} +)
	return $rc
}

checkpatch() {
	local rc=0
	tracked '*.c' '*.h' | grep -v "$USER_C\|^kunit/\|^src/trace.h$" | patch || rc=1
	# Tracepoint definitions and the tests' assertion macros have a special form.
	echo src/trace.h | patch PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE || rc=1
	tracked 'kunit/*.c' 'kunit/*.h' | patch MACRO_WITH_FLOW_CONTROL || rc=1
	tracked '*.c' '*.h' | grep "$USER_C" | patch "$USER_IGNORE" || rc=1
	return $rc
}

# user_access: some architectures evaluate the arguments of these macros twice.
user_access() {
	local files
	mapfile -t files < <(tracked 'src/*.[ch]' 'src/**/*.[ch]')
	[ ${#files[@]} != 0 ] && ! grep -nE '\b(unsafe_)?(get|put)_user\([^;]*(\+\+|--)' "${files[@]}"
}

# SC1091: sourced files are checked separately; SC2317: step calls functions by name.
shell() {
	{
		tracked 'qemu/*.sh' 'qemu/**/*.sh' 'qemu/guest/init' '.ci/run' 'src/user/completion/quiesce' \
			'src/packaging/rust-tree' 'src/packaging/kernel-postrm' 'src/packaging/dkms/*' 'src/packaging/debian/*.postinst' 'src/packaging/debian/*.postrm'
	} | sort -u | in_root "$ROOT" xargs shellcheck -x -P "$QEMU_DIR" -e SC1091,SC2317
}

spelling() {
	tracked | grep -v '^LICENSE$\|\.log$' | in_root "$ROOT" xargs codespell -q 3 -L "$(cat qemu/words.ignore 2>/dev/null)"
}

manuals() {
	# shellcheck disable=SC2046 # names have no blanks
	in_root "$ROOT" mandoc -T lint -W warning $(tracked 'src/*/man/*.[1-9]' 'src/packaging/*.[1-9]')
}

python() {
	tracked '*.py' | in_root "$ROOT" xargs -n 1 python3 -W error -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())'
}

# user_space FOLDER TARGET...: of the Makefiles that build with cargo.
user_space() {
	in_root "$ROOT" make -C "$1" "${@:2}" REGISTRY="$REGISTRY" O="$BUILD/user-check" STATIC=1 \
		CARGO_HOME="$BUILD/user/cargo-home" CARGO_TARGET_DIR="$BUILD/user/cargo-target"
}

user_lint() {
	user_space src/user lint && user_space qemu/rust lint
}

modules() {
	check "Lints, stock kernel" lint stock
	check "Lints, lockdep kernel" lint_built lockdep
	"$QEMU_DIR/doc.sh" || failed=$((failed + 1))
	return $failed
}

others() {
	check "Format of the Rust code" format
	check "Bindings of user space, against the header" user_space src/user bindings-check
	check "Lints, user space" user_lint
	check "Unit tests of quiesce(1)" user_space src/user test
	check "Style of the C code (checkpatch)" checkpatch
	check "Arguments of the macros for user memory" user_access
	check "The harness's shell (shellcheck)" shell
	check "The harness's Python" python
	check "Spelling" spelling
	check "Words of comments and documentation" python3 qemu/prose.py
	check "Absolute sentences of the documentation" python3 qemu/sentences.py
	check "Manual pages (mandoc)" manuals
	return $failed
}

REGISTRY=$("$QEMU_DIR/crates.sh")
# Two at a time: hardly any of them uses more than one processor.
mkdir -p "$BUILD/logs"
strict modules >"$BUILD/logs/checks-of-modules.log" 2>&1 </dev/null &
modules=$!
strict others || failed=$?
step "Waiting for the checks of the modules" tail --pid=$modules -f /dev/null
wait $modules || failed=$((failed + $?))
cat "$BUILD/logs/checks-of-modules.log" >&2
if [ $failed != 0 ]; then
	say "$failed checks failed"
	exit "$EX_TESTS"
fi
say "all checks passed"
