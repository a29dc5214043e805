#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# crates.sh: fetches Debian's packages of the crates that src/user is built from, which
# are sources, into the cache. Prints the folder that cargo takes instead of its registry.

. "$(dirname "$0")/lib.sh"

# What src/user and qemu/rust name; cargo wants everything that those may need as well.
CRATES=(librust-{lexopt,libc,rustix,tokio}-dev)

make_crates() {
	local dir=$1
	mkdir -p "$dir/lists/partial" "$dir/debs"
	# shellcheck disable=SC2016 # expanded by the inner shell
	(cd "$dir/debs" && in_root "$ROOT" bash -ec '
		options=(-o Dir::State::lists="$1/lists" -o APT::Sandbox::User=root)
		apt-get "${options[@]}" update
		apt-get "${options[@]}" --simulate --no-install-recommends install "${@:2}" >packages
		apt-get "${options[@]}" download $(sed -n "s/^Inst \(librust-[^ ]*\) .*/\1/p" packages)
		for deb in *.deb; do dpkg-deb -x "$deb" "$1/tree"; done
	' - "$dir" "${CRATES[@]}")
	mv "$dir/tree/usr/share/cargo/registry" "$dir/registry"
	rm -rf "$dir/lists" "$dir/debs" "$dir/tree"
}

ROOT=$("$QEMU_DIR/buildroot.sh")
DIR=$CACHE/crates-$(key "$ROOT" "${CRATES[@]}" "$(declare -f make_crates)")
once "$DIR" step "Fetching Debian's packages of Rust crates (6 MB)" make_crates ||
	die "the Rust crates could not be fetched"
printf '%s\n' "$DIR/registry"
