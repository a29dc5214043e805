#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# packages-test.sh: what can be tested of the Debian packages without installing them;
# `make test-install` does the rest. Prints KTAP.

. "$(dirname "$0")/lib.sh"
DEBROOT=$("$QEMU_DIR/deb.sh" --root)
ROOT=$("$QEMU_DIR/buildroot.sh")
KERNEL=$("$QEMU_DIR/kernel.sh" stock)
WORK=$BUILD/packages
rm -rf "$WORK"
mkdir -p "$WORK"

builds() { "$QEMU_DIR/deb.sh"; }

# The archive as a user of backports has it, with the suites that the root was made from:
# a package of the root may be newer than the one of trixie. Its lists are kept in the
# cache: apt uses them, with a warning, when the archive cannot be reached.
LISTS=$CACHE/lists
resolves() {
	local debs
	mkdir -p "$LISTS/partial"
	debs=$(cd "$BUILD/deb" && find . -name '*.deb')
	cd "$BUILD/deb"
	# shellcheck disable=SC2016,SC2086 # for the inner shell; words
	flock "$LISTS.lock" bash -c '. "$0"; in_root "$@"' "$QEMU_DIR/lib.sh" "$DEBROOT" "${NETWORK[@]}" sh -c '
		set -e
		lists=$1; shift
		cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
			sed -n "s/^\(deb .*\) trixie \(.*\)/&\n\1 trixie-backports \2/; /^deb /p" | sort -u >/tmp/sources.list
		apt="apt-get -o Dir::State::lists=$lists -o Dir::Etc::sourcelist=/tmp/sources.list -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root
			-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Install-Recommends=false"
		$apt -q update
		$apt -s install -t trixie-backports linux-image-cloud-amd64 linux-headers-cloud-amd64 linux-source libelf-dev libdw-dev
		$apt -s install linux-source/trixie-backports "$@"' - "$LISTS" $debs
}

NETWORK=()
resolves_without_network() {
	# A network with nothing in it.
	NETWORK=(unshare --net)
	resolves
}

# The source that DKMS gets is whole.
source_builds() {
	cd "$WORK"
	# shellcheck disable=SC2016 # for the inner shell
	in_root "$DEBROOT" sh -c 'dpkg-deb -x "$1"/quiesce-dkms_*.deb "$2"/dkms' - "$BUILD/deb" "$WORK"
	local source
	source=$(echo "$WORK"/dkms/usr/src/quiesce-*)
	[ -e "$source/dkms.conf" ] && [ -x "$source/dkms/keep-metadata" ] && [ -x "$source/dkms/install-metadata" ]
	local words
	read -ra words <"$KERNEL/make"
	in_root "$ROOT" make -C "$KERNEL/build" "${words[@]}" M="$source" obj-m=quiesce.o modules
	[ -e "$source/quiesce.ko" ] && [ -e "$source/src/libquiesce.rmeta" ]
}

# An older kernel gets one line that says what is needed.
older_is_told() {
	local words
	read -ra words <"$KERNEL/make"
	cd "$WORK"
	! in_root "$ROOT" make -C "$KERNEL/build" "${words[@]}" M="$(echo "$WORK"/dkms/usr/src/quiesce-*)" obj-m=quiesce.o \
		PATCHLEVEL=2 modules >"$WORK/older" 2>&1 || return 1
	grep 'quiesce needs Linux 7.3 or later, and this is 7.2' "$WORK/older"
}

manuals_are_in_it() {
	# shellcheck disable=SC2016 # for the inner shell
	in_root "$DEBROOT" sh -c 'for deb in "$1"/*.deb; do dpkg-deb -c "$deb"; done' - "$BUILD/deb" >"$WORK/files"
	local page
	for page in man8/rust-tree.8 man4/quiesce.4 man3/barrier.3; do
		grep -q "/usr/share/man/$page" "$WORK/files" || { echo "no $page"; return 1; }
	done
}

cases=(builds resolves resolves_without_network source_builds older_is_told manuals_are_in_it)
names=("the packages build, and lintian finds nothing" "apt resolves what they depend on" "the same without a network"
	"the source for DKMS is whole" "a kernel below 7.3 is refused in one line" "the manual pages are in them")
echo "KTAP version 1"
echo "1..${#cases[@]}"
rc=0
for n in "${!cases[@]}"; do
	if strict "${cases[n]}" >"$WORK/out" 2>&1; then
		echo "ok $((n + 1)) - ${names[n]}"
	else
		rc=1
		tail -n 40 "$WORK/out" | sed 's/^/# /'
		echo "not ok $((n + 1)) - ${names[n]}"
	fi
done
exit $rc
