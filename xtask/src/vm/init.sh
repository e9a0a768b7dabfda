#!/bin/busybox sh
# The first program of the virtual machine: goes over to its host's filesystem, which it can only read.
set -e
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
for module in /modules/*; do
    $busybox insmod "$module"
done
$busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /root
$busybox mount -t tmpfs run /root/run
$busybox cp /guest.sh /root/run/
$busybox mount --move /proc /root/proc
$busybox mount --move /dev /root/dev
exec $busybox switch_root /root /bin/sh /run/guest.sh
