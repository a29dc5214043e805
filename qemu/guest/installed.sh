#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The checks of an installed system, run by systemd in the guest of install.sh. A line
# 'ok - NAME' or 'not ok - NAME' each.

check() {
	local name=$1
	shift
	if "$@" >/tmp/out 2>&1; then
		echo "ok - $name"
	else
		sed 's/^/# /' /tmp/out
		echo "not ok - $name"
	fi
}

if grep -q 'lockdown=integrity' /proc/cmdline; then
	refused() {
		! modprobe quiesce 2>/tmp/why || return 1
		cat /tmp/why
		grep -q 'Key was rejected\|Operation not permitted\|Required key not available' /tmp/why
		dmesg | grep -qi 'lockdown: .*unsigned module loading is restricted\|Loading of module with unavailable key is rejected\|Lockdown: modprobe'
	}
	check "lockdown is told apart" refused
	exit 0
fi

loaded() { grep '^quiesce ' /proc/modules; }
mode() { [ "$(stat -c %a /dev/quiesce)" = "$1" ]; }
meets() {
	install -m 755 /root/meet /tmp/meet
	su user -s /bin/sh -c /tmp/meet
}
external() {
	insmod /root/external/rust_external.ko && rmmod rust_external
}
reload() {
	modprobe -r quiesce && modprobe quiesce mode=0640 && udevadm settle && sleep 1 && mode 640
}

check "the module is loaded" loaded
check "the node has mode 666" mode 666
check "an unprivileged user meets" meets
check "an external module loads" external
check "the node has the mode asked for" reload
check "the module unloads" modprobe -r quiesce
exit 0
