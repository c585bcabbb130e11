#!/bin/bash
# run-vm.sh CACHE OVERLAY: boots one guest with the files of the directory OVERLAY on top, runs OVERLAY/run.sh in it and
# ends with its exit code; 124 after TIMEOUT seconds, 125 when the guest ends without having said.
# Environment: SMP, MEM (MiB), TIMEOUT, MTU, IP, APPEND (kernel parameters), DEVICES (QEMU arguments), ACCEL, CPU.
set -uo pipefail
cache=$(readlink -f "$1") overlay=$(readlink -f "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/rdma-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$overlay" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -1) > "$work/overlay.gz"
cat "$cache/base.cpio.gz" "$work/overlay.gz" > "$work/initrd" # the kernel takes archives one after the other

# Software emulation always: a /dev/kvm that opens may still not run a stock kernel. On a machine where it does:
# ACCEL=kvm CPU=host. Without erms and fsrm the kernel copies by words instead of bytes, as hardware's copies
# look from outside; a byte-wise emulated copy would tear words that no real machine tears.
read -ra devices <<< "${DEVICES:--nic none}"
timeout --foreground -k 5 "${TIMEOUT:-170}" qemu-system-x86_64 -accel "${ACCEL:-tcg,thread=multi}" \
  -cpu "${CPU:-max,la57=off,erms=off,fsrm=off}" -smp "${SMP:-2}" -m "${MEM:-1024}${MAXMEM:-}" ${MACHINE:+-M "$MACHINE"} \
  -nodefaults -no-user-config -display none -serial stdio -no-reboot \
  -device isa-debug-exit,iobase=0xf4,iosize=1 "${devices[@]}" ${PIDFILE:+-pidfile "$PIDFILE"} \
  -kernel "$cache/vmlinux" -initrd "$work/initrd" \
  -append "console=ttyS0 quiet panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable ip=${IP:-10.9.0.1/24,10.9.0.2/24} mtu=${MTU:-9000} ${APPEND:-}" \
  < /dev/null | sed -u 's,\r,,g' # the serial line ends its lines with CR LF; as they come
code=${PIPESTATUS[0]}
if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
  echo "run-vm.sh: the guest did not end within ${TIMEOUT:-170} s" >&2
  exit 124
fi
[ $((code & 1)) -eq 0 ] || exit $((code >> 1))
echo "run-vm.sh: the guest ended without a result (QEMU: $code)" >&2
exit 125
