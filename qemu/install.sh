#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# install.sh: installs the packages of `make deb` as a user would, in a Debian system
# with the stock kernel, and boots that system with systemd. Prints KTAP on standard
# output and ends with 'N passed, M failed' on standard error.
#
# apt and DKMS run in the system's tree on this machine's processor; what needs a
# kernel runs in QEMU.

. "$(dirname "$0")/buildroot.sh"
QEMU_ROOT=$("$QEMU_DIR/buildroot.sh")
DEBROOT=$("$QEMU_DIR/deb.sh" --root)
RELEASE=$(cat "$QEMU_ROOT/srv/cloud-amd64/release")
VERSION=$(cat "$QEMU_ROOT/srv/version")
SECOND=$(cat "$QEMU_ROOT/srv/rt-amd64/release")

# A minimal system, and the kernel that a user takes from backports.
SYSTEM_PACKAGES=systemd-sysv,udev,kmod,initramfs-tools,zstd,login,passwd,util-linux,gcc,libc6-dev,pkgconf,make
# shellcheck disable=SC2016 # expanded by mmdebstrap's shell
SYSTEM_HOOK='set -e
sed -n "s/^\(deb .*\) trixie \(.*\)/\1 trixie-backports \2/p" "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*.list 2>/dev/null |
	head -n 1 > "$1/etc/apt/sources.list.d/backports.list"
echo "do_symlinks = no" > "$1/etc/kernel-img.conf"
chroot "$1" apt-get update
chroot "$1" apt-get install -y --no-install-recommends -t trixie-backports "linux-image-'"$RELEASE=$VERSION"'" "linux-headers-'"$RELEASE=$VERSION"'" linux-source libelf-dev libdw-dev
chroot "$1" apt-get clean
chroot "$1" passwd -d root'

make_system() {
	bootstrap "$1" trixie "$SYSTEM_PACKAGES" "$SYSTEM_HOOK"
}

SYSTEM=$CACHE/system-$(key "$SYSTEM_PACKAGES" "$SYSTEM_HOOK")
if [ ! -e "$SYSTEM/.done" ]; then
	need_host
	once "$SYSTEM" step "Making a Debian system with kernel $RELEASE (two minutes)" make_system ||
		die "the Debian system could not be made"
fi

DIR=$BUILD/install
TREE=$DIR/tree
PACKAGES=(dkms-rust-tree quiesce-dkms libquiesce1 libquiesce-dev quiesce-tools python3-quiesce)
N=0 FAILED=0

# ok NAME COMMAND...: a test; what the command prints is shown if it fails.
ok() {
	local name=$1 rc=0
	shift
	N=$((N + 1))
	printf '[%5s] %s ...' "$(stamp)" "$name" >&2
	(set -euo pipefail; "$@") >"$DIR/out" 2>&1 || rc=$?
	if [ $rc = 0 ]; then
		echo "ok $N - $name"
		echo " ok" >&2
	else
		FAILED=$((FAILED + 1))
		tail -n 40 "$DIR/out" | sed 's/^/# /'
		echo "not ok $N - $name"
		echo " FAILED" >&2
		tail -n 15 "$DIR/out" >&2
	fi
}

chroot_tree() { in_root "$TREE" env DEBIAN_FRONTEND=noninteractive "$@"; }

# What README says: all that `make deb` made.
install_all() {
	(cd "$BUILD/deb" && chroot_tree sh -c 'apt-get install -y --no-install-recommends ./*.deb')
	local package
	# shellcheck disable=SC2016 # for dpkg-query
	for package in "${PACKAGES[@]}"; do chroot_tree dpkg-query -W -f '${db:Status-Status}\n' "$package" | grep -x installed; done
}

# shellcheck disable=SC2016 # for dpkg-query
module_version() { chroot_tree dpkg-query -W -f '${source:Upstream-Version}' quiesce-dkms; }

dkms_has() { chroot_tree dkms status -m quiesce -k "$1" | grep ': installed'; }

# A program of the user's, and a module of theirs that uses the installed crate.
build_user() {
	cp "$TOP/samples/meet.c" "$TREE/root/"
	# shellcheck disable=SC2016 # for the inner shell
	chroot_tree sh -c 'cd /root && gcc -O2 -o meet meet.c $(pkg-config --cflags --libs quiesce)'
	cp "$TOP/samples/barrier.py" "$TREE/root/"
}

# The manual pages are where man finds them, and the command's completion is there.
manuals() {
	local page
	for page in man1/quiesce.1 man3/barrier.3 man4/quiesce.4 man8/rust-tree.8; do
		[ -s "$TREE/usr/share/man/$page.gz" ] || { echo "no $page"; return 1; }
	done
	[ -e "$TREE/usr/share/bash-completion/completions/quiesce" ]
}

# As an ordinary user: only what DKMS prepared is needed.
build_external() {
	chroot_tree useradd -m user || true
	rm -rf "$TREE/home/user/external"
	cp -r "$TOP/samples/external" "$TREE/home/user/"
	chroot_tree chown -R user: /home/user/external
	chroot_tree runuser -u user -- sh -c "cd /home/user/external && /usr/sbin/rust-tree --make $RELEASE QUIESCE=/var/lib/quiesce/$RELEASE modules"
}

# Installed again, the module comes with what others are built against.
external_after_reinstall() {
	chroot_tree dkms uninstall quiesce/"$(module_version)" -k "$RELEASE"
	[ ! -e "$TREE/var/lib/quiesce/$RELEASE" ] && [ ! -L "$TREE/var/lib/quiesce/$RELEASE" ] || return 1
	chroot_tree dkms install quiesce/"$(module_version)" -k "$RELEASE"
	build_external
}

# A user who may not prepare what is missing learns who may.
says_who_may_prepare() {
	! chroot_tree runuser -u user -- env RUST_TREE_CACHE=/root/none /usr/sbin/rust-tree "$RELEASE" 2>"$DIR/who" &&
		grep "run 'rust-tree $RELEASE' as root once" "$DIR/who"
}

# stage_boot: what the system does when it is booted: the checks, then off.
stage_boot() {
	install -m 755 "$QEMU_DIR/guest/installed.sh" "$TREE/root/installed.sh"
	cp "$TOP/src/packaging/debian/quiesce-dkms.README.Debian" "$TREE/root/README.Debian"
	cat >"$TREE/etc/systemd/system/installed.service" <<-UNIT
		[Unit]
		After=multi-user.target systemd-modules-load.service systemd-udev-settle.service
		[Service]
		Type=oneshot
		ExecStart=/root/installed.sh
		StandardOutput=tty
		TTYPath=/dev/ttyS1
		ExecStopPost=/bin/systemctl poweroff --no-block
		[Install]
		WantedBy=multi-user.target
	UNIT
	chroot_tree systemctl enable installed.service
}

# boot_system LOG APPEND: boots the tree from an ext4 image.
boot_system() {
	local log=$1 append=$2
	rm -f "$DIR/disk"
	chroot_tree apt-get clean
	in_root "$DEBROOT" /usr/sbin/mke2fs -q -t ext4 -d "$TREE" "$DIR/disk" 6G
	in_root "$QEMU_ROOT" timeout --foreground 900 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
		-nodefaults -display none -no-reboot -kernel "$TREE/boot/vmlinuz-$RELEASE" -initrd "$TREE/boot/initrd.img-$RELEASE" \
		-append "root=/dev/vda rw console=ttyS0 panic=-1 oops=panic no_timer_check systemd.unit=multi-user.target $append" \
		-drive "file=$DIR/disk,if=virtio,format=raw" -serial "file:$DIR/$log.console" -serial "file:$DIR/$log.out" || true
	rm -f "$DIR/disk"
}

# said LOG NAME: the guest's verdict on one of its checks.
said() {
	tr -d '\r' <"$DIR/$1.out" | grep -a "^ok - $2\$" || {
		tail -n 30 "$DIR/$1.out" "$DIR/$1.console"
		return 1
	}
}

clean_console() {
	! tr -d '\r' <"$DIR/$1.console" | grep -aE 'WARNING:|BUG:|Oops|Call Trace|Kernel panic'
}

# The same packages with a later version: what an upgrade sees.
upgrade() {
	local deb name source later="" status
	mkdir -p "$DIR/later"
	rm -f "$DIR"/later/*.deb
	for deb in "$BUILD"/deb/*.deb; do
		name=$(basename "$deb")
		rm -rf "$DIR/unpacked"
		in_root "$DEBROOT" dpkg-deb -R "$deb" "$DIR/unpacked"
		sed -i 's/^Version: .*/&+later/; s/(= \([^)]*\))/(= \1+later)/g' "$DIR/unpacked/DEBIAN/control"
		# DKMS has the version in the source's folder, in dkms.conf and in the scripts.
		if [[ $name == quiesce-dkms_* ]]; then
			source=$(echo "$DIR"/unpacked/usr/src/quiesce-*)
			mv "$source" "$source+later"
			sed -i 's/^PACKAGE_VERSION="[^"]*/&+later/' "$source+later/dkms.conf"
			sed -i 's/^DKMS_VERSION=.*/&+later/' "$DIR"/unpacked/DEBIAN/{postinst,prerm}
			later=${source##*/quiesce-}+later
		fi
		in_root "$DEBROOT" dpkg-deb -b "$DIR/unpacked" "$DIR/later/${name/_/+later_}"
	done
	(cd "$DIR/later" && chroot_tree sh -c 'apt-get install -y --no-install-recommends ./*.deb')
	status=$(chroot_tree dkms status -m quiesce)
	echo "$status"
	# The later one for both kernels, and no other.
	[ "$(grep -F "quiesce/$later, " <<<"$status" | grep -c ': installed')" = 2 ] && ! grep -vF "quiesce/$later" <<<"$status"
}

removed() {
	chroot_tree apt-get purge -y "${PACKAGES[@]}"
	local left
	left=$(find "$TREE"/{etc,usr,var} \( -name '*quiesce*' -o -name '*rust-tree*' \) -not -path "$TREE/var/log/*")
	[ -z "$left" ] || { echo "left behind: $left"; return 1; }
}

# Debian's own 6.12: apt succeeds, and nothing is built for it.
leaves_older() {
	chroot_tree apt-get install -y --no-install-recommends -t trixie linux-headers-cloud-amd64/trixie
	local older
	older=$(cd "$TREE/lib/modules" && ls -d 6.12.*)
	! dkms_has "$older" || return 1
	! chroot_tree dkms build quiesce/"$(module_version)" -k "$older" >"$DIR/older" 2>&1 || return 1
	grep 'BUILD_EXCLUSIVE' "$DIR/older"
}

install_second() {
	chroot_tree apt-get install -y --no-install-recommends -t trixie-backports "linux-image-$SECOND=$VERSION" "linux-headers-$SECOND=$VERSION"
}

# What rust-tree made for a kernel ends with the kernel.
second_leaves_nothing() {
	[ -e "$TREE/var/cache/rust-tree/$SECOND/.done" ] || return 1
	chroot_tree apt-get purge -y "linux-image-$SECOND" "linux-headers-$SECOND"
	[ ! -e "$TREE/var/cache/rust-tree/$SECOND" ] && [ ! -L "$TREE/var/lib/quiesce/$SECOND" ] && ! dkms_has "$SECOND" &&
		[ -e "$TREE/var/cache/rust-tree/$RELEASE/.done" ]
}

# As an upgrade to a series whose source is not installed: the kernel is complete, and apt
# says what is missing.
skips_without_source() {
	mv "$TREE"/usr/src/linux-source-*.tar.xz "$DIR/"
	install_second >"$DIR/skipped" 2>&1 || { cat "$DIR/skipped"; return 1; }
	cat "$DIR/skipped"
	chroot_tree apt-get check
	[ -e "$TREE/boot/initrd.img-$SECOND" ] && ! dkms_has "$SECOND" &&
		grep "linux-source of version $VERSION is not installed" "$DIR/skipped" &&
		grep "quiesce is not built for $SECOND" "$DIR/skipped"
}

builds_when_source_comes() {
	rm -f "$DIR"/linux-source-*.tar.xz
	chroot_tree apt-get install -y --no-install-recommends --reinstall "linux-source-${VERSION%%.*}.$(cut -d. -f2 <<<"$VERSION")=$VERSION"
	dkms_has "$SECOND"
}

# Of a tree that could not be made, the log is left.
failed_tree_leaves_log() {
	mkdir -p "$TREE/root/failing" "$TREE/root/broken"
	printf '#!/bin/sh\necho broken >&2\nexit 1\n' >"$TREE/root/broken/make"
	chmod 755 "$TREE/root/broken/make"
	! chroot_tree env PATH=/root/broken:/usr/sbin:/usr/bin:/sbin:/bin RUST_TREE_CACHE=/root/failing rust-tree "$RELEASE" 2>"$DIR/failing" || return 1
	grep 'modules_prepare failed' "$DIR/failing"
	[ "$(ls -A "$TREE/root/failing/$RELEASE")" = log ]
}

refuses_other_rustc() {
	mkdir -p "$TREE/root/bin"
	printf '#!/bin/sh\necho "rustc 1.0.0 (another)"\n' >"$TREE/root/bin/rustc"
	chmod 755 "$TREE/root/bin/rustc"
	! chroot_tree env PATH=/root/bin:/usr/sbin:/usr/bin:/sbin:/bin RUST_TREE_CACHE=/root/cache rust-tree "$RELEASE" 2>"$DIR/refused" &&
		grep 'Rust metadata is exact about the compiler' "$DIR/refused"
}

# All of it is read before it begins, and nothing after it, so that an edit does not change a run.
main() {
	mkdir -p "$DIR"
	[ -n "$(ls "$BUILD"/deb/quiesce-dkms_*.deb 2>/dev/null)" ] || "$QEMU_DIR/deb.sh" >&2
	# shellcheck disable=SC2016 # for the inner shell
	step "Copying the system" sh -c 'rm -rf "$2" && cp -a --reflink=auto "$1" "$2" && rm -f "$2/.done"' - "$SYSTEM" "$TREE"
	step "apt update, in it" chroot_tree apt-get update || die "the archive cannot be reached"
	echo "KTAP version 1"
	echo "1..30"
	ok "apt resolves what the packages depend on, and DKMS builds" install_all
	ok "DKMS has installed the module" dkms_has "$RELEASE"
	ok "rust-tree refuses another rustc" refuses_other_rustc
	ok "a program builds against the installed library" build_user
	ok "the manual pages are installed" manuals
	ok "an external module builds against the installed crate, as an ordinary user" build_external
	ok "DKMS uninstalls and installs it, and an external module builds again" external_after_reinstall
	ok "a kernel that cannot be prepared leaves a log" failed_tree_leaves_log
	ok "rust-tree says who may prepare a kernel" says_who_may_prepare
	ok "the system is prepared to boot" stage_boot
	step "Booting the system" boot_system boot ""
	ok "modprobe at boot, by modules-load.d" said boot "the module is loaded"
	ok "udev made the node, with the default mode" said boot "the node has mode 666"
	ok "a user's program meets its child" said boot "an unprivileged user meets"
	ok "quiesce(1) starts two parties, which meet" said boot "the command runs parties"
	ok "the Python module's barrier names who was killed" said boot "Python names the dead"
	ok "the external module loads" said boot "an external module loads"
	ok "a rule of README.Debian gives the node a group" said boot "the node has the group of a rule"
	ok "mode= is what udev leaves" said boot "the node has the mode asked for"
	ok "systemd-modules-load succeeds on a kernel without the module" said boot "the boot does not fail without a module"
	ok "the module unloads" said boot "the module unloads"
	ok "no complaint from the kernel" clean_console boot
	step "Booting the system in lockdown" boot_system lockdown "lockdown=integrity"
	ok "lockdown refuses an unenrolled key, and says so" said lockdown "lockdown is told apart"
	ok "a second kernel is served when its headers are installed" install_second
	ok "DKMS has installed the module for the second kernel" dkms_has "$SECOND"
	ok "with a kernel its Rust metadata is removed" second_leaves_nothing
	ok "a kernel whose source is not installed is skipped, and apt succeeds" skips_without_source
	ok "DKMS builds the module when the source is installed" builds_when_source_comes
	ok "a kernel below 7.3 is left alone" leaves_older
	ok "an upgrade rebuilds" upgrade
	ok "purging leaves nothing" removed
	say "$((N - FAILED)) passed, $FAILED failed"
	[ $FAILED = 0 ]
}

main; exit
