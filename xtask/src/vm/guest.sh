# The virtual machine on its host's filesystem: runs the jobs, tells how they went, and switches itself off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
# The namespaces of tests mount something there.
mount -t tmpfs mnt /mnt
ip link set lo up
folder=$(sed 's/.*turnpike=//' /proc/cmdline)
uname -srvm
sh "$folder/jobs.sh"
echo $? > /dev/ttyS1
echo o > /proc/sysrq-trigger
# Until it is off; no program can be started any more.
while :; do :; done
