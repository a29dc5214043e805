#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh PROFILE: makes the kernel of a profile, once. Prints the folder that
# then holds
#   build/   what modules are built against (O=)
#   image    what QEMU boots
#   release  the kernel's release string
#   make     the words that go on make's command line for this kernel

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"

SOURCE=/usr/src/linux

# Debian's kernel: nothing is built but what modules_prepare makes, from Debian's
# configuration and in Debian's name; symbols come from Debian's own build.
make_debian() {
	local srv=$ROOT/srv/$1 kernel=$2 words
	mkdir -p "$kernel/build"
	cp "$srv/config" "$kernel/build/.config"
	words="KERNELRELEASE=$(cat "$srv/release") CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14"
	# shellcheck disable=SC2086 # words are words
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" $words -j"$JOBS" olddefconfig modules_prepare
	cp "$srv/Module.symvers" "$kernel/build/"
	ln -f "$srv/vmlinuz" "$kernel/image" 2>/dev/null || cp "$srv/vmlinuz" "$kernel/image"
	cp "$srv/release" "$kernel/release"
	printf '%s\n' "$words" >"$kernel/make"
}

# Debian's kernel of another architecture or of the next release: the compiler is the
# one that its configuration names, and every Rust symbol that it exports has to be
# defined by what was made.
make_other() {
	local srv=$ROOT/srv/$1 arch=$2 kernel=$3 words compiler
	mkdir -p "$kernel/build"
	cp "$srv/config" "$kernel/build/.config"
	compiler=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\).*/\1/p' "$srv/config")
	words="KERNELRELEASE=$(cat "$srv/release") CC=$compiler HOSTCC=${compiler##*gnu-}"
	[ "$arch" = x86_64 ] || words+=" ARCH=$arch CROSS_COMPILE=${compiler%gcc*}"
	# shellcheck disable=SC2086 # words are words
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" $words -j"$JOBS" olddefconfig modules_prepare
	cp "$srv/Module.symvers" "$kernel/build/"
	awk '$2 ~ /^_R/ { print $2 }' "$srv/Module.symvers" | LC_ALL=C sort -u >"$kernel/exported"
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_root "$ROOT" sh -c '"$1" --defined-only "$2"/rust/*.o' - "${compiler%gcc*}nm" "$kernel/build" 2>/dev/null |
		awk 'NF == 3 { print $3 }' | LC_ALL=C sort -u >"$kernel/defined"
	[ -s "$kernel/exported" ]
	[ -z "$(LC_ALL=C comm -23 "$kernel/exported" "$kernel/defined")" ] ||
		die "Rust symbols of the kernel that the recreated metadata does not have: $(LC_ALL=C comm -23 "$kernel/exported" "$kernel/defined" | wc -l)"
	ln -f "$srv/vmlinuz" "$kernel/image" 2>/dev/null || cp "$srv/vmlinuz" "$kernel/image"
	cp "$srv/release" "$kernel/release"
	printf '%s\n' "$words" >"$kernel/make"
}

# merge_config.sh cannot know what Kconfig refuses later: every line that was
# asked for has to be in the result.
check_config() {
	local line name
	while read -r line; do
		name=${line%%=*}
		case $line in
		*=n) ! grep -q "^$name=" "$1" || die "$name is set though the profile asks for =n" ;;
		CONFIG_*) grep -qxF "$line" "$1" || die "the kernel did not take $line (it has: $(grep "${name}[= ]" "$1" || echo nothing))" ;;
		esac
	done < <(cat "${@:2}" | tac | awk -F= '!seen[$1]++')
}

# shellcheck disable=SC2016 # expanded by the inner shell
make_own() {
	local kernel=$2 fragments=() f words="LLVM=1"
	for f in $1; do fragments+=("$QEMU_DIR/kernel/$f.config"); done
	mkdir -p "$kernel/build"
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" $words tinyconfig
	in_root "$ROOT" bash -c 'cd "$1" && shift && "$@"' - "$kernel/build" \
		"$SOURCE/scripts/kconfig/merge_config.sh" -m .config "${fragments[@]}"
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" $words olddefconfig
	check_config "$kernel/build/.config" "${fragments[@]}"
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" $words -j"$JOBS" vmlinux modules
	ln -f "$kernel/build/vmlinux" "$kernel/image"
	cp "$kernel/build/include/config/kernel.release" "$kernel/release"
	printf '%s\n' "$words" >"$kernel/make"
}

profile=${1:?usage: kernel.sh PROFILE}
need_profile "$profile"
ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
words=${PROFILE_CONFIG[$profile]}
args=("$words")
case ${PROFILE_KIND[$profile]} in
debian)
	kernel=$CACHE/kernel-$profile-$(key "$(basename "$ROOT")" "$(sed -n '/^make_debian/,/^}/p' "$0")")
	what="Preparing Debian's $(cat "$ROOT/srv/$words/release") for Rust modules (about 2 minutes)"
	maker=make_debian
	;;
other)
	arch=${PROFILE_ARCH[$profile]}
	kernel=$CACHE/kernel-$profile-$(key "$(basename "$ROOT")" "$(sed -n '/^make_other/,/^}/p' "$0")")
	what="Preparing Debian's $(cat "$ROOT/srv/$words/release") for Rust modules (about 2 minutes)"
	maker=make_other
	args+=("$arch")
	;;
own)
	fragments=()
	for f in $words; do fragments+=("$QEMU_DIR/kernel/$f.config"); done
	kernel=$CACHE/kernel-$profile-$(key "$(basename "$ROOT")" "${fragments[@]}" "$(sed -n '/^make_own/,/^}/p' "$0")")
	what="Building the kernel of profile $profile (about 12 minutes)"
	maker=make_own
	;;
esac
if [ ! -e "$kernel/.done" ]; then
	need_space "$CACHE" 1000 "the kernel of profile $profile"
	(
		# One kernel build at a time: two would only take turns.
		flock 8
		once "$kernel" step "$what" "$maker" "${args[@]}"
	) 8>"$CACHE/kernel.lock" || die "the kernel of profile $profile could not be made"
fi
printf '%s\n' "$kernel"
