#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# in-tree.sh: lays the crate into the kernel source tree KSRC, where it can be built in
# or as modules: drivers/misc/quiesce, include/uapi/linux/quiesce.h and
# Documentation/driver-api/quiesce.rst. A second run replaces what the first one laid.

. "$(dirname "$0")/lib.sh"

[ -n "${KSRC:-}" ] || die "usage: make in-tree KSRC=folder of a kernel's source"
for file in Kbuild drivers/misc/Kconfig rust/kernel/lib.rs; do
	[ -e "$KSRC/$file" ] || die "$KSRC is no kernel source tree: it has no $file"
done
KSRC=$(realpath -- "$KSRC")
version=$(sed -n 's/^VERSION = //p; s/^PATCHLEVEL = //p' "$KSRC/Makefile" | paste -sd.)
[ "$(printf '7.3\n%s\n' "$version" | sort -V | head -n 1)" = 7.3 ] ||
	die "quiesce needs Linux 7.3 or later, and $KSRC is $version"

dir=$KSRC/drivers/misc/quiesce
rm -rf "$dir"
mkdir -p "$dir/qemu"
cp -r "$TOP/src" "$TOP/kunit" "$dir/"
# What user space is built from, and what must not compile, is no part of the kernel.
for part in libquiesce packaging user python; do rm -rf "${dir:?}/src/$part"; done
rm -rf "$dir/kunit/compile-fail"
find "$dir" \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '*.rmeta' -o -name '.*.cmd' -o \
	-name '*_generated.*' \) -delete
mkdir "$dir/samples"
cp "$TOP"/samples/*rust_*.rs "$TOP/samples/c_rundown.c" "$dir/samples/"
cp "$QEMU_DIR/doctests.py" "$dir/qemu/"
cp "$TOP/Kbuild" "$dir/Kbuild.crate"
cp "$TOP"/src/packaging/in-tree/{Kconfig,Makefile} "$dir/"
cp "$TOP/src/packaging/in-tree/kunitconfig" "$dir/.kunitconfig"
cp "$TOP/src/packaging/in-tree/quiesce.rst" "$KSRC/Documentation/driver-api/quiesce.rst"

# One file for the interface, where the kernel has them.
mv "$dir/src/uapi/quiesce.h" "$KSRC/include/uapi/linux/quiesce.h"
printf '/* SPDX-License-Identifier: GPL-2.0 */\n#include <uapi/linux/quiesce.h>\n' >"$dir/src/uapi/quiesce.h"

# once_in FILE LINE PLACE: adds LINE to FILE unless it is there, before the line that
# matches PLACE, or at the end.
once_in() {
	if grep -qxF "$2" "$1"; then return; fi
	awk -v line="$2" -v place="$3" 'place != "" && $0 ~ place && !done { print line; done = 1 } { print } END { if (!done) print line }' \
		"$1" >"$1.new"
	mv "$1.new" "$1"
}
once_in "$KSRC/drivers/misc/Kconfig" 'source "drivers/misc/quiesce/Kconfig"' '^endmenu'
once_in "$KSRC/drivers/misc/Makefile" "obj-\$(CONFIG_QUIESCE)		+= quiesce/" ''
once_in "$KSRC/Documentation/driver-api/index.rst" '   quiesce' '^   rapidio/'
say "quiesce lies in $dir. Next, in $KSRC:"
say "    ./tools/testing/kunit/kunit.py run --arch=x86_64 --make_options LLVM=1 --kunitconfig=drivers/misc/quiesce --qemu_args '-smp 2 -m 1024 -cpu max'"
