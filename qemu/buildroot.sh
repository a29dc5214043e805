#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the build root: a Debian trixie tree with the tool chain that built
# Debian's kernel, that kernel's source, its configuration and image in each
# flavour, QEMU and busybox. Prints its path.
#
# Rust metadata is exact about the compiler, so nothing but trixie's own rustc
# will do, whatever the host runs.

. "$(dirname "$0")/lib.sh"

# bootstrap ROOT SUITE PACKAGES HOOK: one Debian tree, by mmdebstrap. An expired
# Release file is a warning; signatures are verified always.
bootstrap() {
	local root=$1 suite=$2 packages=$3 hook=$4
	! strict try_bootstrap "$@" || return 0
	if grep -q 'Release file.*expired\|is not valid yet\|Valid-Until' "$CACHE/logs/bootstrap-$suite.err"; then
		say "quiesce: warning: the archive's Release file for $suite has expired; going on with it (signatures are still verified)"
		ns rm -rf "$root"
		strict try_bootstrap "$@" --aptopt='Acquire::Check-Valid-Until "false"'
		return
	fi
	return 1
}

try_bootstrap() {
	local root=$1 suite=$2 packages=$3 hook=$4
	shift 4
	local opts=(--variant=apt --architectures=amd64 --components=main --include="$packages"
		--aptopt='Acquire::Retries "3"' --aptopt='Acquire::http::Timeout "10"' --aptopt='Acquire::https::Timeout "10"'
		--aptopt='APT::Install-Recommends "false"'
		--dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-exclude=/usr/share/locale/*
		--customize-hook="$hook" "$@")
	mkdir -p "$CACHE/logs"
	if [ "$(id -u)" = 0 ]; then
		mmdebstrap --mode=root "${opts[@]}" "$suite" "$root" 2> >(tee "$CACHE/logs/bootstrap-$suite.err" >&2)
	else
		mkdir -p "$root"
		mmdebstrap --mode=unshare "${opts[@]}" --format=tar "$suite" - 2> >(tee "$CACHE/logs/bootstrap-$suite.err" >&2) |
			ns tar -C "$root" --exclude=./dev/* -x
	fi
}

PACKAGES=make,clang,lld,llvm,libclang-dev,rustc,rust-src,rustfmt,rust-clippy,bindgen,\
flex,bison,bc,libelf-dev,libssl-dev,libdw-dev,python3,xz-utils,zstd,cpio,kmod,rsync,perl,dwarves,git,\
gcc-14,gcc,libc6-dev,libc6-dev-i386,gcc-14-multilib,lib32gcc-14-dev,pkgconf,liburing-dev,qemu-system-x86,seabios,busybox-static,\
shellcheck,codespell,strace,mandoc,diffutils,patch,procps,g++,g++-multilib,musl-tools,cargo

# Runs on the host with the tree as $1, after the packages were installed.
# shellcheck disable=SC2016 # expanded by mmdebstrap's shell
HOOK='set -e
chroot "$1" sh -c "cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null" |
	sed -n "s/^\(deb .*\) trixie \(.*\)/\1 trixie-backports \2/p" | head -n 1 > "$1/etc/apt/sources.list.d/backports.list"
chroot "$1" apt-get update
chroot "$1" bash /dev/stdin' # <<kernels.sh, appended below

# Chooses the kernel: the version that linux-source offers, series 7.3 if there is
# one, and headers and images of just that version.
# shellcheck disable=SC2016
KERNELS='set -euo pipefail
source=$(apt-cache search --names-only "^linux-source-7\.3$" | cut -d" " -f1)
[ -n "$source" ] || source=$(apt-cache search --names-only "^linux-source-[0-9.]+$" | cut -d" " -f1 | sort -V | tail -n 1)
[ -n "$source" ] || { echo "no linux-source package in the archive" >&2; exit 1; }
version=$(apt-cache policy "$source" | sed -n "s/^  Candidate: //p")
cd /srv
apt-get download "$source=$version"
for flavour in cloud-amd64 rt-amd64; do
	found=
	for headers in $(apt-cache search --names-only "^linux-headers-${source#linux-source-}.*-$flavour$" | cut -d" " -f1 | sort -rV); do
		release=${headers#linux-headers-}
		if apt-cache madison "$headers" | grep -qF " $version "; then found=$release; break; fi
	done
	[ -n "$found" ] || { echo "no linux-headers for $flavour in version $version of $source" >&2; exit 1; }
	image=linux-binary-$found
	apt-cache show "$image=$version" >/dev/null 2>&1 || image=linux-image-$found
	apt-get download "linux-headers-$found" "$image"
	mkdir -p "/srv/$flavour"
	for deb in "linux-headers-${found}"_*.deb "${image}"_*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "/srv/$flavour" --wildcards --wildcards-match-slash \
			"./usr/src/linux-headers-*/.config" "./usr/src/linux-headers-*/Module.symvers" 2>/dev/null || true
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "/srv/$flavour" --wildcards --wildcards-match-slash \
			"*/vmlinuz*" 2>/dev/null || true
	done
	cp "/srv/$flavour/usr/src/linux-headers-$found/.config" "/srv/$flavour/config"
	cp "/srv/$flavour/usr/src/linux-headers-$found/Module.symvers" "/srv/$flavour/Module.symvers"
	cp "$(find "/srv/$flavour" -name "vmlinuz*" -type f | head -n 1)" "/srv/$flavour/vmlinuz"
	rm -rf "/srv/$flavour/usr" "/srv/$flavour/boot"
	echo "$found" > "/srv/$flavour/release"
done
dpkg-deb --fsys-tarfile "$source"_*.deb | tar -x -C /srv --wildcards --wildcards-match-slash "*/linux-source-*.tar.xz"
mkdir /usr/src/linux
tar -x -C /usr/src/linux --strip-components=1 -f /srv/usr/src/linux-source-*.tar.xz
rm -rf /srv/*.deb /srv/usr
echo "$version" > /srv/version
apt-get clean'

make_root() {
	bootstrap "$1" trixie "$PACKAGES" "$HOOK <<'KERNELS_END'
$KERNELS
KERNELS_END"
}

# The newest kernel that sid or experimental has, with sid's tool chain: what Debian
# ships next. The compiler is the one that the kernel's configuration names.
NEXT_PACKAGES=$(tr ',' '\n' <<<"$PACKAGES" | grep -v '^gcc-14\|^lib32gcc-14' | paste -sd,),gcc-multilib
# shellcheck disable=SC2016 # expanded by mmdebstrap's shell
NEXT_HOOK='set -e
chroot "$1" sh -c "cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null" |
	sed -n "s/^\(deb .*\) sid \(.*\)/\1 experimental \2/p" | head -n 1 > "$1/etc/apt/sources.list.d/experimental.list"
echo "Acquire::Check-Valid-Until \"false\";" > "$1/etc/apt/apt.conf.d/99valid"
chroot "$1" apt-get update
chroot "$1" bash /dev/stdin'
# shellcheck disable=SC2016
NEXT_KERNELS='set -euo pipefail
read -r version source < <(apt-cache search --names-only "^linux-source-[0-9.]+$" | cut -d" " -f1 | while read -r s; do
	apt-cache madison "$s" | awk -F" *[|] *" "{ gsub(/ /, \"\", \$1); print \$2, \$1 }"
done | sort -V | tail -n 1)
[ -n "$source" ] || { echo "no linux-source package in sid or experimental" >&2; exit 1; }
for flavour in cloud-amd64; do'"${KERNELS#*for flavour in cloud-amd64 rt-amd64; do}"'
compiler=$(sed -n "s/^CONFIG_CC_VERSION_TEXT=.x86_64-linux-gnu-\(gcc-[0-9]*\).*/\1/p" /srv/cloud-amd64/config)
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$compiler"
apt-get clean'
NEXT_KERNELS=${NEXT_KERNELS/for flavour in cloud-amd64; do/cd /srv
apt-get download \"\$source=\$version\"
for flavour in cloud-amd64; do}
NEXT_KERNELS=${NEXT_KERNELS/apt-get download \"linux-headers-\$found\" \"\$image\"/apt-get download \"linux-headers-\$found=\$version\" \"\$image=\$version\"}

make_next_root() {
	bootstrap "$1" sid "$NEXT_PACKAGES" "$NEXT_HOOK <<'KERNELS_END'
$NEXT_KERNELS
KERNELS_END"
}

# The build root with what cross-building for arm64 takes, and Debian's arm64 kernels
# of the same version.
# shellcheck disable=SC2016 # expanded by the inner shell
ARM64_SETUP='set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
dpkg --add-architecture arm64
apt-get update
apt-get install -y --no-install-recommends gcc-14-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm ipxe-qemu- qemu-efi-aarch64-
version=$(cat /srv/version)
mkdir -p /srv/arm64
cd /srv/arm64
apt-get download busybox-static:arm64
dpkg-deb --fsys-tarfile busybox-static_*.deb | tar -x --wildcards --wildcards-match-slash "*/bin/busybox"
mv "$(find . -name busybox -type f)" busybox
rm -rf usr bin *.deb
for flavour in cloud-arm64 rt-arm64; do
	release=$(sed "s/cloud-amd64$/$flavour/" /srv/cloud-amd64/release)
	mkdir -p "/srv/$flavour"
	image=linux-binary-$release
	apt-cache show "$image:arm64=$version" >/dev/null 2>&1 || image=linux-image-$release
	apt-get download "linux-headers-$release:arm64=$version" "$image:arm64=$version"
	for deb in "linux-headers-${release}"_*.deb "${image}"_*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "/srv/$flavour" --wildcards --wildcards-match-slash \
			"./usr/src/linux-headers-*/.config" "./usr/src/linux-headers-*/Module.symvers" 2>/dev/null || true
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "/srv/$flavour" --wildcards --wildcards-match-slash "*/vmlinuz*" 2>/dev/null || true
	done
	cp "/srv/$flavour/usr/src/linux-headers-$release/.config" "/srv/$flavour/config"
	cp "/srv/$flavour/usr/src/linux-headers-$release/Module.symvers" "/srv/$flavour/Module.symvers"
	cp "$(find "/srv/$flavour" -name "vmlinuz*" -type f | head -n 1)" "/srv/$flavour/vmlinuz"
	rm -rf "/srv/$flavour/usr" "/srv/$flavour/boot" ./*.deb
	echo "$release" > "/srv/$flavour/release"
done
apt-get clean'

make_arm64_root() {
	local root=$1
	ns cp -a --reflink=auto "$MAIN_ROOT" "$root"
	rm -f "$root/.done"
	cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
	in_root "$root" bash -c "$ARM64_SETUP"
}

# buildroot.sh [main|arm64|next]
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	which=${1:-main}
	MAIN_ROOT=$CACHE/root-$(key "$PACKAGES" "$HOOK" "$KERNELS")
	case $which in
	main)
		ROOT=$MAIN_ROOT
		what="Making the build root (Debian trixie; 4 GB, about 2 minutes)"
		maker=make_root
		;;
	arm64)
		[ -e "$MAIN_ROOT/.done" ] || "$0" >/dev/null
		ROOT=$CACHE/arm64-$(key "$MAIN_ROOT" "$ARM64_SETUP")
		what="Making the build root for arm64 (4.5 GB, about 2 minutes)"
		maker=make_arm64_root
		;;
	next)
		ROOT=$CACHE/next-$(key "$NEXT_PACKAGES" "$NEXT_HOOK" "$NEXT_KERNELS")
		what="Making the build root for Debian's next kernel (Debian sid; 4 GB, about 3 minutes)"
		maker=make_next_root
		;;
	*) die "no build root '$which'" ;;
	esac
	if [ ! -e "$ROOT/.done" ]; then
		need_host
		need_space "$CACHE" 5000 "the build root"
		once "$ROOT" step "$what" "$maker" || die "the build root could not be made"
		say "        kernel version taken: $(cat "$ROOT/srv/version")"
	fi
	printf '%s\n' "$ROOT"
fi
