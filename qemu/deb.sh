#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# deb.sh: builds the Debian packages into .build/deb, in a root of its own, and
# runs lintian over them. `deb.sh --root` only makes that root and prints its path.

. "$(dirname "$0")/buildroot.sh"

DEB_PACKAGES=build-essential,debhelper,dh-dkms,dkms,lintian,dh-python,flit,fakeroot,mandoc,mmdebstrap,e2fsprogs,\
cargo,librust-lexopt-dev,librust-libc-dev,librust-rustix-dev,librust-tokio-dev

make_deb_root() {
	bootstrap "$1" trixie "$DEB_PACKAGES" true
}

DEBROOT=$CACHE/deb-$(key "$DEB_PACKAGES" "$(declare -f bootstrap try_bootstrap make_deb_root)")
if [ ! -e "$DEBROOT/.done" ]; then
	need_host
	once "$DEBROOT" step "Making the root for packages (Debian trixie; a minute)" make_deb_root ||
		die "the root for packages could not be made"
fi
if [ "${1:-}" = --root ]; then
	printf '%s\n' "$DEBROOT"
	exit
fi

# build_debs DIR: from the files of the checkout, so that nothing else gets into a package.
build_debs() {
	local dir=$1 version
	version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$TOP/src/packaging/debian/changelog")
	rm -rf "$dir"
	mkdir -p "$dir/quiesce-$version"
	(tracked Kbuild LICENSE src) | tar -C "$TOP" -c -T - | tar -C "$dir/quiesce-$version" -x
	cp -r "$TOP/src/packaging/debian" "$dir/quiesce-$version/"
	# Without packages of debug symbols, so that *.deb is what a user installs.
	(cd "$dir/quiesce-$version" && in_root "$DEBROOT" env DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage --build=binary --unsigned-changes --unsigned-source)
	mv "$dir/quiesce-$version"/debian/build/*.whl "$dir/"
	(cd "$dir" && in_root "$DEBROOT" lintian --fail-on error,warning --tag-display-limit 0 quiesce_*.changes)
}

step "Building the Debian packages" build_debs "$BUILD/deb" || die "the packages could not be built"
(cd "$BUILD/deb" && ls -1 -- *.deb *.whl)
