#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# crates.sh: fetches Debian's packages of the crates that src/user is built from, which
# are sources, into the cache. Prints the folder that cargo takes instead of its registry.
# crates.sh arm64: fetches Rust's standard library for arm64. Prints the folder that rustc
# takes as its sysroot.

. "$(dirname "$0")/lib.sh"

# What src/user and qemu/rust name; cargo wants everything that those may need as well.
CRATES=(librust-{lexopt,libc,rustix,tokio}-dev)

# fetch DIR SCRIPT ARG...: unpacks Debian's packages into DIR/tree. SCRIPT prints their names,
# with ARGs as its own, and apt-get's options for it in the array options.
fetch() {
	local dir=$1
	mkdir -p "$dir/lists/partial" "$dir/debs"
	# shellcheck disable=SC2016 # expanded by the inner shell
	(cd "$dir/debs" && in_root "$ROOT" bash -ec '
		dir=$1 script=$2
		shift 2
		options=(-o Dir::State::lists="$dir/lists" -o APT::Sandbox::User=root)
		apt-get "${options[@]}" update
		apt-get "${options[@]}" download $(eval "$script")
		for deb in *.deb; do dpkg-deb -x "$deb" "$dir/tree"; done
	' - "$@")
	rm -rf "$dir/lists" "$dir/debs"
}

make_crates() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	fetch "$1" 'apt-get "${options[@]}" --simulate --no-install-recommends install "$@" |
		sed -n "s/^Inst \(librust-[^ ]*\) .*/\1/p"' "${CRATES[@]}"
	mv "$1/tree/usr/share/cargo/registry" "$1/registry"
	rm -rf "$1/tree"
}

make_std() {
	# The version of the compiler, which metadata is exact about.
	# shellcheck disable=SC2016 # expanded by the inner shell
	fetch "$1" 'echo "libstd-rust-dev:arm64=$(dpkg-query -W -f "\${Version}" rustc)"'
}

if [ "${1:-}" = arm64 ]; then
	ROOT=$("$QEMU_DIR/buildroot.sh" arm64)
	DIR=$CACHE/rust-arm64-$(key "$ROOT" "$(declare -f fetch make_std)")
	once "$DIR" step "Fetching Rust's standard library for arm64 (38 MB)" make_std ||
		die "Rust's standard library for arm64 could not be fetched"
	printf '%s\n' "$DIR/tree/usr"
	exit
fi
ROOT=$("$QEMU_DIR/buildroot.sh")
DIR=$CACHE/crates-$(key "$ROOT" "${CRATES[@]}" "$(declare -f fetch make_crates)")
once "$DIR" step "Fetching Debian's packages of Rust crates (6 MB)" make_crates ||
	die "the Rust crates could not be fetched"
printf '%s\n' "$DIR/registry"
