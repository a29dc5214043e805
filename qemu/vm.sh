# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Makes an initramfs and boots a kernel with it. Sourced after lib.sh and profiles.sh,
# with the profile's name in $profile, its root in $ROOT and its kernel in $KERNEL.
#
# The guest has two serial lines: ttyS0 is the kernel's console, ttyS1 carries
# what the guest's init has to say. Nothing is concluded from QEMU's exit code: it
# is 0 after a panic too.

# initramfs FILE STAGE: packs the tree STAGE, with busybox and the guest's init.
initramfs() {
	local out=$1 stage=$2
	mkdir -p "$stage"/{bin,dev,proc,sys,tmp,work}
	if [ "${PROFILE_ARCH[$profile]}" = x86_64 ]; then
		cp "$ROOT/usr/bin/busybox" "$stage/bin/busybox"
	else
		cp "$ROOT/srv/${PROFILE_ARCH[$profile]}/busybox" "$stage/bin/busybox"
	fi
	ln -sf busybox "$stage/bin/sh"
	cp "$QEMU_DIR/guest/init" "$stage/init"
	cp "$QEMU_DIR"/guest/*.sh "$stage/"
	chmod 755 "$stage/init"
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_root "$ROOT" sh -c 'cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 > "$2"' - "$stage" "$out"
}

# accel: TCG unless KVM is asked for. That /dev/kvm is there proves nothing, so a
# KVM that was asked for has to boot something first.
accel() {
	if [ "${ACCEL:-tcg}" != kvm ]; then
		echo "-accel tcg,thread=multi -cpu max"
		return
	fi
	if in_root "$ROOT" timeout 20 qemu-system-x86_64 -accel kvm -cpu host -m 256 -nodefaults -display none \
		-no-reboot -serial stdio -kernel "$KERNEL/image" -append "console=ttyS0 panic=-1" \
		</dev/null 2>/dev/null | grep -q 'Linux version'; then
		echo "-accel kvm -cpu host"
	else
		say "quiesce: warning: KVM was asked for and does not boot a kernel here; using TCG"
		echo "-accel tcg,thread=multi -cpu max"
	fi
}

# boot INITRAMFS APPEND QEMU-ARGS...: boots $KERNEL; what the serial lines are
# connected to is the caller's matter. TIMEOUT seconds is all that it may take.
#
# no_timer_check: on a loaded host the emulated timer can be late for the kernel's
# test of it, which is a panic.
boot() {
	local initrd=$1 append=$2
	shift 2
	local machine console=ttyS0
	machine="qemu-system-x86_64 $(accel)"
	if [ "${PROFILE_ARCH[$profile]}" = arm64 ]; then
		machine="qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on -accel tcg,thread=multi"
		console=ttyAMA0
	fi
	# shellcheck disable=SC2086 # words
	in_root "$ROOT" timeout --foreground "${TIMEOUT:-900}" $machine -smp "${SMP:-2}" -m "${MEM:-1024}" \
		-nodefaults -display none -no-reboot -kernel "$KERNEL/image" -initrd "$initrd" \
		-append "console=$console panic=-1 oops=panic reboot=t no_timer_check loglevel=7 rcupdate.rcu_cpu_stall_timeout=120 $append" "$@"
}

# copy_tool STAGE PROFILE: quiesce(1), into the guest's PATH.
copy_tool() {
	local tool
	tool=$(profile_user "$2")/src/user/quiesce
	mkdir -p "$1/bin"
	[ ! -e "$tool" ] || cp "$tool" "$1/bin/"
}

# copy_modules STAGE PROFILE [crate]: the profile's modules, or quiesce.ko alone.
copy_modules() {
	local stage=$1 profile=$2 ko objcopy=objcopy
	[ "${PROFILE_ARCH[$profile]}" = x86_64 ] || objcopy=aarch64-linux-gnu-objcopy
	mkdir -p "$stage/modules"
	if [ "${3:-}" = crate ]; then
		cp "$BUILD/$profile/crate/quiesce.ko" "$stage/modules/"
		in_root "$ROOT" "$objcopy" --strip-debug "$stage/modules/quiesce.ko"
		return
	fi
	# modules.order, not *.ko: a build leaves the modules of an earlier state behind.
	while read -r ko; do
		cp "$BUILD/$profile/${ko%.o}.ko" "$stage/modules/"
	done <"$BUILD/$profile/modules.order"
	for ko in "$BUILD/$profile"/external/*.ko "$BUILD/$profile"/torture/*.ko; do
		[ ! -e "$ko" ] || cp "$ko" "$stage/modules/"
	done
	if [ -e "$BUILD/$profile/stale/external/rust_external.ko" ]; then
		mkdir -p "$stage/modules/stale"
		cp "$BUILD/$profile/stale/external/rust_external.ko" "$stage/modules/stale/"
	fi
	# Debug information is of no use in the guest, and the guest's memory is small.
	for ko in "$stage"/modules/*.ko; do in_root "$ROOT" "$objcopy" --strip-debug "$ko"; done
}

# make_python DIR: the root's Python and what it needs in a guest. Its bytecode is not
# compared with the sources' times, which an initramfs does not keep.
make_python() {
	local dir=$1 lib name
	mkdir -p "$dir/usr/bin" "$dir/usr/lib" "$dir/lib64" "$dir/lib"
	name=$(basename "$(readlink -f "$ROOT/usr/bin/python3")")
	cp "$ROOT/usr/bin/$name" "$dir/usr/bin/python3"
	cp -r "$ROOT/usr/lib/$name" "$dir/usr/lib/$name"
	rm -rf "$dir/usr/lib/$name"/{test,pydoc_data,_pyrepl,ensurepip,idlelib}
	# Those that link with libraries that are not needed, or that CPython tests itself with.
	rm -f "$dir/usr/lib/$name/lib-dynload"/{_bz2,_lzma,_ssl,_hashlib,_sqlite3,_curses,_ctypes_test,_dbm,_uuid,_test,_xx,readline,xx}*
	for lib in $(in_root "$ROOT" sh -c "ldd /usr/bin/$name /usr/lib/$name/lib-dynload/_ctypes.*" | grep -o '\s/\(usr/\)\?lib[^ ]*'); do
		mkdir -p "$dir$(dirname "$lib")"
		cp -L "$ROOT$lib" "$dir$lib"
	done
	find "$dir" -name __pycache__ -prune -exec rm -r {} +
	in_root "$ROOT" python3 -m compileall -q --invalidation-mode unchecked-hash -s "$dir" "$dir/usr/lib/$name"
}

# copy_python STAGE [TOP]: Python, the module quiesce, its sample and tests, and what runs them.
copy_python() {
	local stage=$1 top=${2:-$TOP} tree
	tree=$CACHE/python-$(key "$ROOT" "$(declare -f make_python)")
	once "$tree" make_python
	cp -r "$tree"/{usr,lib,lib64} "$stage/"
	mkdir -p "$stage/python"
	cp -r "$top/src/python/quiesce" "$stage/python/"
	cp "$top"/qemu/tests/python/*.py "$top"/samples/*.py "$stage/python/"
	rm -rf "$stage/python/quiesce/__pycache__"
	printf '%s\n' '#!/bin/sh' 'PYTHONPATH=/python exec /usr/bin/python3 /python/run.py "$@"' >"$stage/tests/run_python"
	chmod 755 "$stage/tests/run_python"
}
