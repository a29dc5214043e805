#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of `make demo`. Output lines that begin with # are for the host.

# run "what is shown" command...
run() {
	echo
	echo "\$ $1"
	shift
	before=$(dmesg | wc -l)
	"$@" || echo "# FAILED ($?): $*"
	# The modules' log messages of the command, without those about taint.
	dmesg | tail -n +$((before + 1)) | sed -n 's/^\[[^]]*\] //; /taint/d; /^\(quiesce\|rust_\|c_\)[a-z_]*: /s/^/    /p'
}

cd /work || exit 2
echo "$(uname -sr), up $(cut -d' ' -f1 /proc/uptime) s: $(uname -v)"
run "insmod quiesce.ko" insmod /modules/quiesce.ko
for module in rust_rundown rust_seqlock rust_rcu; do
	[ -e /modules/$module.ko ] || continue
	run "insmod $module.ko" insmod /modules/$module.ko
	run "rmmod $module" rmmod $module
done
run "ls -l /dev/quiesce" ls -l /dev/quiesce
run "barrier_fork words.txt" /samples/barrier_fork words.txt
# The four meet three times; one of them is killed before the last.
cat > party.sh << 'END'
sleep 0.$QUIESCE_PARTY
quiesce sync && quiesce sync || exit
[ $QUIESCE_PARTY != 2 ] || kill -9 $$
quiesce sync 2> /dev/null
END
timeline() { quiesce trace -o timeline.svg -- quiesce run -n 4 -- sh party.sh 2>&1 | sed 's/^/    /'; }
run "quiesce trace -o timeline.svg -- quiesce run -n 4 -- sh party.sh" timeline
sed 's/^/#svg /' timeline.svg
run "rmmod quiesce" rmmod quiesce
echo
echo "# DEMO done"
