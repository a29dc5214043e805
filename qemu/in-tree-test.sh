#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# in-tree-test.sh: lays the crate into the source of the lockdep profile's kernel, builds
# it as modules and built in, and runs the suites with the kernel's own kunit.py. Prints
# KTAP. Source and build folder of that kernel stay as they are: what is written goes
# into layers over them, so that little has to be built.
#
# in-tree-test.sh short: lays it into a tree of links to that source, and checks, without
# building anything, what Kconfig offers there and that the Makefile finds every source.

. "$(dirname "$0")/lib.sh"

if [ "${1:-}" = short ]; then
	ROOT=$("$QEMU_DIR/buildroot.sh")
	KERNEL=$("$QEMU_DIR/kernel.sh" lockdep)
elif [ -z "${QUIESCE_LAYERED:-}" ]; then
	ROOT=$("$QEMU_DIR/buildroot.sh")
	KERNEL=$("$QEMU_DIR/kernel.sh" lockdep)
	rm -rf "$BUILD/in-tree"
	mkdir -p "$BUILD/in-tree"/{source,build}/{upper,work}
	export ROOT KERNEL QUIESCE_LAYERED=1
	# shellcheck disable=SC2016 # for the inner shell
	exec unshare --mount --propagation private bash -c '
		layer() { mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$1"; }
		layer "$ROOT/usr/src/linux" "$1/source" && layer "$KERNEL/build" "$1/build" && exec "$2"' - "$BUILD/in-tree" "$0"
fi

if [ "${1:-}" = short ]; then
	WORK=$BUILD/in-tree-short
	SOURCE=$WORK/source
	OUT=$WORK/build
else
	WORK=$BUILD/in-tree
	SOURCE=$ROOT/usr/src/linux
	OUT=$KERNEL/build
fi

# links FOLDER...: makes $SOURCE, with these folders of the kernel's tree and those
# above them; all else is links to /usr/src/linux, which is there inside of the root.
links() {
	local folder name
	rm -rf "$WORK"
	mkdir -p "$SOURCE" "$OUT/scripts"
	for folder; do mkdir -p "$SOURCE/$folder"; done
	while read -r folder; do
		while read -r name; do
			[ -e "$SOURCE/$folder/$name" ] || ln -s "/usr/src/linux/$folder/$name" "$SOURCE/$folder/$name"
		done < <(ls -A "$ROOT/usr/src/linux/$folder")
	done < <(cd "$SOURCE" && find . -type d)
	for name in drivers/misc/Kconfig drivers/misc/Makefile Documentation/driver-api/index.rst; do
		cp --remove-destination "$ROOT/usr/src/linux/$name" "$SOURCE/$name"
	done
	# kunit.py goes where its own file is.
	rm "$SOURCE/tools/testing/kunit"
	cp -r "$ROOT/usr/src/linux/tools/testing/kunit" "$SOURCE/tools/testing/"
	# The programs of Kconfig are made already.
	mkdir -p "$WORK/kunit/scripts"
	for folder in "$OUT" "$WORK/kunit"; do
		cp -a "$KERNEL/build/scripts/basic" "$KERNEL/build/scripts/kconfig" "$folder/scripts/"
	done
	cp "$KERNEL/build/.config" "$OUT/"
}

# kernel TARGET...: make in the kernel's tree.
kernel() { in_root "$ROOT" make -C "${SOURCE#"$ROOT"}" O="$OUT" LLVM=1 -j"$JOBS" "$@"; }

# lay [SOURCE]: in-tree.sh, inside of the root.
lay() { in_root "$ROOT" env KSRC="${1:-${SOURCE#"$ROOT"}}" "$QEMU_DIR/in-tree.sh"; }

# configure y|m
configure() {
	in_root "$ROOT" /usr/src/linux/scripts/config --file "$OUT/.config" --set-val QUIESCE "$1" \
		--enable QUIESCE_KUNIT_TEST --enable SAMPLE_QUIESCE
	kernel olddefconfig
	grep "^CONFIG_QUIESCE=$1" "$OUT/.config"
	grep '^CONFIG_QUIESCE_KUNIT_TEST=y' "$OUT/.config"
	grep '^CONFIG_SAMPLE_QUIESCE=y' "$OUT/.config"
}

lays_it_out() {
	[ "$OUT" = "$KERNEL/build" ] || links drivers/misc include/uapi/linux Documentation/driver-api tools/testing
	lay
	cp -a "$SOURCE/drivers/misc/Kconfig" "$WORK/once"
	lay
	cmp "$SOURCE/drivers/misc/Kconfig" "$WORK/once"
}

refuses_what_is_no_kernel() {
	! lay "$WORK" >"$WORK/refused" 2>&1 || return 1
	grep 'is no kernel source tree' "$WORK/refused"
}

refuses_an_older_kernel() {
	mkdir -p "$WORK"/older/{drivers/misc,rust/kernel}
	touch "$WORK"/older/{Kbuild,drivers/misc/Kconfig,rust/kernel/lib.rs}
	printf 'VERSION = 7\nPATCHLEVEL = 2\n' >"$WORK/older/Makefile"
	! lay "$WORK/older" >"$WORK/refused" 2>&1 || return 1
	grep 'quiesce needs Linux 7.3 or later, and .* is 7.2' "$WORK/refused"
	[ ! -e "$WORK/older/drivers/misc/quiesce" ]
}

# sources y|m: what the Makefile builds in that configuration, a line 'MODULE SOURCE' each; a
# source that is neither there nor generated has a question mark.
sources() {
	mkdir -p "$OUT/include/config"
	sed "s/^CONFIG_QUIESCE=.*/CONFIG_QUIESCE=$1/; /^CONFIG_/!d" "$OUT/.config" >"$OUT/include/config/auto.conf"
	cat >"$WORK/list.mk" <<-'LIST'
		srctree := $(SOURCE)
		objtree := .
		obj := drivers/misc/quiesce
		src := $(SOURCE)/$(obj)
		include include/config/auto.conf
		include $(srctree)/scripts/Kbuild.include
		include $(src)/Makefile
		has = $(or $(wildcard $(src)/$(1:.o=.rs) $(src)/$(1:.o=.c)),?$(1))
		$(foreach m,$(obj-y) $(obj-m),$(foreach o,$($(m:.o=-y)) $($(m:.o=-objs)),$(info $(m) $(call has,$(o)))))
		none: ;
	LIST
	(cd "$OUT" && in_root "$ROOT" make -rRs -f "$WORK/list.mk" SOURCE="$SOURCE" RUSTC=rustc VERSION=7 PATCHLEVEL=3 none)
}

# finds y|m
finds() {
	sources "$1" >"$WORK/sources"
	cat "$WORK/sources"
	! grep '?' "$WORK/sources" || return 1
	local object
	for object in quiesce quiesce_kunit rust_rundown rust_seqlock rust_rcu c_rundown; do grep "^$object.o " "$WORK/sources"; done
	# Exports are for modules; what is built in needs none.
	[ "$1" = m ] || ! grep '/exports\.' "$WORK/sources"
}

Kconfig_offers_it_and_the_Makefile_finds_every_source() {
	configure m
	finds m
	finds y
}

# What `kunit.py run` does before it builds: it ends if a line of .kunitconfig was not taken.
kunit_takes_the_configuration() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_root "$ROOT" sh -c 'cd "$1" && shift && exec "$@"' - "$SOURCE" ./tools/testing/kunit/kunit.py config --arch=x86_64 \
		--make_options LLVM=1 --kunitconfig=drivers/misc/quiesce --build_dir="$WORK/kunit"
	grep '^CONFIG_QUIESCE_KUNIT_TEST=y' "$WORK/kunit/.config"
}

builds_as_modules() {
	configure m
	kernel drivers/misc/quiesce/quiesce.ko drivers/misc/quiesce/quiesce_kunit.ko drivers/misc/quiesce/rust_rundown.ko
	[ -e "$KERNEL/build/drivers/misc/quiesce/quiesce_kunit.ko" ]
}

builds_in() {
	configure y
	kernel bzImage
	grep -q ' quiesce_' "$KERNEL/build/System.map"
}

kunit_runs_the_suites() {
	local rc=0
	cd "$SOURCE"
	# kunit.py takes KVM wherever /dev/kvm is, though that need not work (see vm.sh).
	[ "${ACCEL:-tcg}" = kvm ] || [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm
	# With the whole configuration, so that it builds what it would and nothing again.
	cp "$KERNEL/build/.config" "$WORK/kunitconfig"
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_root "$ROOT" sh -c 'cd /usr/src/linux && exec "$@"' - ./tools/testing/kunit/kunit.py run --arch=x86_64 --make_options LLVM=1 \
		--kunitconfig="$WORK/kunitconfig" --build_dir="$KERNEL/build" --jobs="$JOBS" --timeout=900 \
		--qemu_args "-smp 2 -cpu max" 'quiesce*' >"$WORK/kunit" 2>&1 || rc=$?
	cp "$KERNEL/build/test.log" "$WORK/" || true
	cat "$WORK/kunit"
	[ "$rc" = 0 ] && grep 'Testing complete. Ran [1-9][0-9][0-9]' "$WORK/kunit" &&
		in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console-only --console "$WORK/test.log" --results /dev/null
}

if [ "${1:-}" = short ]; then
	cases=(lays_it_out refuses_what_is_no_kernel refuses_an_older_kernel Kconfig_offers_it_and_the_Makefile_finds_every_source
		kunit_takes_the_configuration)
else
	cases=(lays_it_out refuses_what_is_no_kernel builds_as_modules builds_in kunit_runs_the_suites)
fi
echo "KTAP version 1"
echo "1..${#cases[@]}"
rc=0
for n in "${!cases[@]}"; do
	if strict "${cases[n]}" >"$BUILD/in-tree.out" 2>&1; then
		echo "ok $((n + 1)) - ${cases[n]//_/ }"
	else
		rc=1
		tail -n 60 "$BUILD/in-tree.out" | sed 's/^/# /'
		echo "not ok $((n + 1)) - ${cases[n]//_/ }"
	fi
done
exit $rc
