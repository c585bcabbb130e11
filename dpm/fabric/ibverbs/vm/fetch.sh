#!/bin/bash
# fetch.sh CACHE: downloads Debian's kernel, RDMA libraries and a few tools as packages and unpacks them
# below CACHE. Nothing is installed. What is there already is kept.
# KREL=6.12.x+deb12-amd64 takes another kernel than the one that linux-image-amd64 stands for.
set -euo pipefail
cache=$(readlink -f "${1:?usage: fetch.sh CACHE}")
krel=${KREL:-}
mkdir -p "$cache/debs" "$cache/sysroot" "$cache/kernel"
cd "$cache/debs"

if [ -z "$krel" ]; then # the security archive replaces kernels: ask which one is current
  krel=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: linux-image-//p' | head -1)
  [ -n "$krel" ] || { echo "fetch.sh: apt knows no linux-image-amd64; run apt-get update (Debian 12, amd64)" >&2; exit 2; }
fi

# Libraries and their development files; what librdmacm and the provider need at run time; the tools of init.
packages="libibverbs1 libibverbs-dev librdmacm1 librdmacm-dev ibverbs-providers libnl-3-200 libnl-route-3-200
 iproute2 libmnl0 libbsd0 libmd0 libcap2 libbpf1 libelf1 libxtables12 zlib1g e2fsprogs libext2fs2 libcom-err2 libblkid1 libuuid1 busybox-static linux-image-$krel"
missing=()
for p in $packages; do
  compgen -G "${p}_*.deb" >/dev/null || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get -q -o APT::Sandbox::User=root download "${missing[@]}" >&2 ||
    { echo "fetch.sh: cannot download ${missing[*]}; run apt-get update and look at the network" >&2; exit 2; }
fi

# The kernel package holds 400 MB of modules; these are the ones that an RDMA card made of software, persistent
# memory and their dependencies may come from.
wanted=(drivers/infiniband drivers/net/dummy drivers/net/virtio_net drivers/net/net_failover net/core/failover
  net/ipv4/udp_tunnel net/ipv6/ip6_udp_tunnel drivers/virtio drivers/nvdimm drivers/dax drivers/acpi/nfit
  fs/ext4 fs/jbd2 fs/mbcache fs/configfs crypto arch/x86/crypto lib)
for deb in *.deb; do
  [ -e "$cache/debs/.unpacked-$deb" ] && continue
  case $deb in
  linux-image-*)
    patterns=('./boot/vmlinuz-*')
    for w in "${wanted[@]}"; do patterns+=("./lib/modules/*/kernel/$w*"); done
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$cache/kernel" --wildcards "${patterns[@]}" 2>/dev/null || true # a pattern may match nothing
    ls "$cache/kernel/boot/vmlinuz-$krel" >/dev/null ;;
  *) dpkg-deb -x "$deb" "$cache/sysroot" ;;
  esac
  touch "$cache/debs/.unpacked-$deb"
done
echo "$krel" > "$cache/krel"
