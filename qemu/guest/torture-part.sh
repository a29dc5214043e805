#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# torture-part.sh PART MUTANT SECONDS [WORKERS]: one run of quiesce_torture.ko, which
# must report no violation, or at least one if it runs a mutant. Prints its figures.

run=/sys/module/quiesce_torture/parameters/run
echo "$1 $2 $3 ${4:-3}" > $run || exit 1
read -r line < $run
echo "figures $line"
case $line in
"verdict=ok "* | "verdict=caught "*) exit 0 ;;
esac
exit 1
