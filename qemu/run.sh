#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh run:   boots a VM with quiesce.ko loaded, puts FILES into its working
#               directory, runs CMD there, prints its output as it arrives and exits
#               with its status; with 3 if the kernel logged a warning.
# run.sh shell: the same with a shell on the kernel's console.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

verb=${1:?usage: run.sh run|shell}
profile=${PROFILE:-stock}
need_profile "$profile"
if [ "$verb" = run ] && [ -z "${CMD:-}" ]; then
	die 'usage: make run [PROFILE=stock] [FILES="a.ko prog"] CMD="insmod a.ko && ./prog 20"'
fi
for file in ${FILES:-}; do
	[ -e "$file" ] || die "FILES: there is no '$file'"
done

ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")

# uses TEXT: whether CMD, or a file of FILES, has the text in it.
uses() {
	[[ $CMD != *"$1"* ]] || return 0
	# shellcheck disable=SC2086 # words
	[ -n "${FILES:-}" ] && grep -qrsIF -- "$1" $FILES
}

# Only what the command can reach is built; a shell can reach everything.
parts=()
modules=
if [ "$verb" = run ]; then
	if uses /samples/; then parts+=(samples); fi
	if uses /tests/ || uses kunit; then parts+=(qemu/tests qemu/torture); fi
	if ! uses /modules/ && ! uses kunit; then
		modules=crate
		parts+=(crate)
	elif [ ${#parts[@]} = 0 ]; then
		parts=(samples)
	fi
	if uses "quiesce "; then parts+=(src/user); fi
fi
"$QEMU_DIR/build.sh" "$profile" "${parts[@]}" || die "profile $profile does not build"

dir=$(mktemp -d "$BUILD/$verb.XXXXXX")
trap 'rm -rf "$dir"' EXIT
stage=$dir/stage
mkdir -p "$stage/work"
copy_modules "$stage" "$profile" "$modules"
copy_tool "$stage" "$profile"
for user in "$(profile_user "$profile")"/samples "$(profile_user "$profile")"/qemu/tests; do
	[ ! -d "$user" ] || cp -r "$user" "$stage/"
done
for file in ${FILES:-}; do cp -rL "$file" "$stage/work/"; done

if [ "$verb" = shell ]; then
	: >"$stage/interactive"
	initramfs "$dir/initramfs" "$stage"
	say "A shell in $(cat "$KERNEL/release"), quiesce.ko loaded; modules in /modules, programs in /samples."
	say "'exit' ends the machine; so does Ctrl-A x."
	TIMEOUT=864000 boot "$dir/initramfs" "quiesce_do=run" -serial mon:stdio -serial null
	exit
fi

mark="quiesce-status-$$-$RANDOM"
printf '%s\n' "$CMD" >"$stage/command"
printf '%s\n' "$mark" >"$stage/mark"
initramfs "$dir/initramfs" "$stage"
say "[$(stamp)] booting $(cat "$KERNEL/release")"
: >"$dir/console"
status=
while IFS= read -r line; do
	line=${line%$'\r'}
	case $line in
	"$mark "*) status=${line##* } ;;
	"# exit "*) ;;
	*) [ -n "$status" ] || printf '%s\n' "$line" ;;
	esac
done < <(boot "$dir/initramfs" "quiesce_do=run" -serial "file:$dir/console" -serial stdio 2>"$dir/qemu.err" </dev/null)

cp "$dir/console" "$BUILD/$verb-console.log"
if [ -z "$status" ]; then
	tail -n 40 "$dir/console" "$dir/qemu.err" >&2
	say "quiesce: the machine ended before the command did"
	exit "$EX_CRASH"
fi
if ! in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console-only --console "$dir/console" --results /dev/null; then
	say "quiesce: the kernel complained (the whole console is in $BUILD/$verb-console.log)"
	exit "$EX_CRASH"
fi
exit "$status"
