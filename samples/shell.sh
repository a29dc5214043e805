#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# quiesce(1) in three lines: related parties, unrelated parties, and a picture.

cd "$(mktemp -d)" || exit

quiesce run -n 4 -- sh -c 'echo $QUIESCE_PARTY prepares; quiesce sync && echo all are ready'         # reports who failed, and why
quiesce serve s -n 2 & quiesce join -t 9s s -- quiesce sync & quiesce join -t 9s s -- quiesce sync   # no relatives
quiesce trace -o timeline.svg -- quiesce run -n 4 -- sh -c 'sleep 0.$QUIESCE_PARTY; quiesce sync'    # as root: who waited for whom
wait
grep -q "</svg>" timeline.svg
