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

as_user() { (cd /tmp && runuser -u user -- "$@"); }
loaded() { grep '^quiesce ' /proc/modules; }
mode() { [ "$(stat -c %a /dev/quiesce)" = "$1" ]; }
meets() {
	install -m 755 /root/meet /tmp/meet
	as_user /tmp/meet
}
command_runs() {
	# shellcheck disable=SC2016 # for the parties
	as_user quiesce run -n 2 -t 60s -- sh -c 'quiesce sync && echo "party $QUIESCE_PARTY has met"' >/tmp/said || return 1
	cat /tmp/said
	[ "$(sort /tmp/said)" = "$(printf 'party %s has met\n' 0 1)" ] || return 1
	# What fails is reported.
	! as_user quiesce run -n 2 -t 60s -- false
}
python_meets() {
	install -m 644 /root/barrier.py /tmp/barrier.py
	as_user python3 -c 'import quiesce' && as_user python3 /tmp/barrier.py >/tmp/said || return 1
	cat /tmp/said
	grep -q '^phase 1: ' /tmp/said && grep -q 'broken: .*killed by signal 9' /tmp/said
}
external() {
	insmod /home/user/external/rust_external.ko && rmmod rust_external
}
reload() {
	modprobe -r quiesce && modprobe quiesce mode=0640 && udevadm settle && sleep 1 && mode 640
}
# As README.Debian says.
group() {
	sed -n "s/^    echo '\(KERNEL.*\)' > .*/\1/p" /root/README.Debian >/etc/udev/rules.d/61-quiesce.rules
	cat /etc/udev/rules.d/61-quiesce.rules
	udevadm control --reload && udevadm trigger --settle /dev/quiesce &&
		[ "$(stat -c '%U:%G %a' /dev/quiesce)" = "root:users 660" ] && rm /etc/udev/rules.d/61-quiesce.rules && udevadm control --reload
}
# As on a kernel that has no quiesce.
absent() {
	mkdir -p /run/modules-load.d
	echo quiesce_absent >/run/modules-load.d/absent.conf
	systemctl restart systemd-modules-load.service && rm /run/modules-load.d/absent.conf
}

check "the module is loaded" loaded
check "the node has mode 666" mode 666
check "an unprivileged user meets" meets
check "the command runs parties" command_runs
check "Python names the dead" python_meets
check "an external module loads" external
check "the node has the group of a rule" group
check "the node has the mode asked for" reload
check "the boot does not fail without a module" absent
check "the module unloads" modprobe -r quiesce
exit 0
