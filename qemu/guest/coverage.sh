#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of coverage.sh: the fuzzer, and where its calls were in quiesce.ko.

insmod /modules/quiesce.ko || exit 1
# shellcheck disable=SC2046 # words
QUIESCE_KCOV=/tmp/reached /tests/fuzz $(cat /arguments) | sed 's/^/# | /'
for section in /sys/module/quiesce/sections/.*text*; do
	echo "section ${section##*/} $(cat "$section")"
done
sed 's/^/reached /' /tmp/reached
echo "# COVERAGE done"
