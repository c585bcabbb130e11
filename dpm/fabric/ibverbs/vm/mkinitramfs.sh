#!/bin/bash
# mkinitramfs.sh CACHE: makes CACHE/vmlinux (the kernel as an ELF file, which QEMU enters without emulating its
# decompression) and CACHE/base.cpio.gz (modules, libraries, tools, init) from what fetch.sh got.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=$(readlink -f "${1:?usage: mkinitramfs.sh CACHE}")
krel=$(cat "$cache/krel")
sysroot=$cache/sysroot
root=$cache/root
lib=usr/lib/x86_64-linux-gnu
rm -rf "$root"
mkdir -p "$root"/{proc,sys,dev,tmp,run,root,etc,pmem,modules,var/lib,usr/bin,usr/sbin,usr/lib64,"$lib/libibverbs"}
for l in bin sbin lib lib64; do ln -s "usr/$l" "$root/$l"; done

# The kernel: the payload of a bzImage lies behind (setup_sects+1) sectors, at payload_offset (0x248) with
# payload_length (0x24c); see the boot protocol in the kernel's documentation.
image=$cache/kernel/boot/vmlinuz-$krel
number() { od -An -t"u$2" -j"$1" -N"$2" "$image" | tr -d ' '; }
sectors=$(number 497 1)
[ "$sectors" != 0 ] || sectors=4
offset=$(((sectors + 1) * 512 + $(number 584 4)))
payload() { tail -c +$((offset + 1)) "$image" | head -c "$(number 588 4)"; }
case $(payload | head -c4 | od -An -tx1 | tr -d ' ') in
fd377a58) unpack="xz -dc" ;;
28b52ffd) unpack="zstd -dc" ;;
1f8b*) unpack="gzip -dc" ;;
*) echo "mkinitramfs.sh: $image is compressed in an unknown way" >&2; exit 1 ;;
esac
payload | $unpack > "$cache/vmlinux" 2>/dev/null || true # the size that follows the payload makes them complain
[ "$(head -c4 "$cache/vmlinux" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] ||
  { echo "mkinitramfs.sh: no ELF file in $image" >&2; exit 1; }

# Modules, each after those it depends on. The package has no modules.dep: that is depmod's, after
# installation; the modules name their dependencies themselves.
declare -A added
module() {
  local name=${1//-/_} file dep
  [ -z "${added[$name]:-}" ] || return 0
  added[$name]=1
  file=$(find "$cache/kernel/lib/modules/$krel" -name "${name//_/[-_]}.ko*" | head -1)
  [ -n "$file" ] || return 0 # built in, or not in this kernel: init says what it cannot load
  case $file in
  *.xz) xz -dc "$file" > "$root/modules/$name.ko" ;;
  *) cp "$file" "$root/modules/$name.ko" ;;
  esac
  for dep in $(tr '\0' '\n' < "$root/modules/$name.ko" | grep -a -m1 '^depends=' | cut -d= -f2 | tr , ' '); do
    module "$dep"
  done
  echo "$name" >> "$root/modules/$list"
}
list=order # for every guest; crc32 is asked for by name and is nobody's dependency
for m in virtio_pci virtio_net dummy crc32_generic ib_core ib_uverbs rdma_cm rdma_ucm rdma_rxe; do module $m; done
list=order-pmem # for guests with persistent memory
touch "$root/modules/$list"
for m in nfit nd_pmem virtio_pmem dax device_dax dax_pmem crc32c_generic ext4; do module $m; done

cp "$sysroot/bin/busybox" "$root/usr/bin/busybox"
for applet in $("$sysroot/bin/busybox" --list); do # busybox lists itself, too
  [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
# Debian's own ip and rdma know more than busybox's. A copy onto the link would overwrite busybox itself.
for tool in bin/ip usr/bin/rdma sbin/mke2fs; do
  rm -f "$root/usr/bin/${tool##*/}"
  cp -L "$sysroot/$tool" "$root/usr/bin/"
done
# Libraries that are opened at run time and that ldd cannot know: the provider, and glibc's libgcc_s for pthread_exit.
mkdir -p "$root/etc/libibverbs.d"
cp "$sysroot/etc/libibverbs.d/rxe.driver" "$root/etc/libibverbs.d/"
cp "$sysroot/$lib"/libibverbs/librxe-rdmav*.so "$root/$lib/libibverbs/"
cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$root/$lib/"
"$here/copylibs.sh" "$sysroot" "$root" "$root/usr/bin/ip" "$root/usr/bin/rdma" "$root/usr/bin/mke2fs" "$root/$lib"/libibverbs/*.so

echo "root:x:0:0:root:/root:/bin/sh" > "$root/etc/passwd"
echo "127.0.0.1 localhost" > "$root/etc/hosts"
echo "hosts: files" > "$root/etc/nsswitch.conf"
cp "$here/init" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 --reproducible) | gzip -1 -n > "$cache/base.cpio.gz"
