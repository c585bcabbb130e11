# Sourced in the guest: makes the first NVDIMM an ext4 file system with dax at /pmem and the second a device-dax
# (/dev/dax1.0), once; later boots find them so. It does what ndctl does, through sysfs.
convert() { # region, kind (pfn or dax), driver
  cd /sys/bus/nd/devices || exit 98
  echo "namespace$1.0" > /sys/bus/nd/drivers/nd_pmem/unbind
  echo pmem > "$2$1.0/mode" # where the page structures lie: on the NVDIMM itself
  echo 2097152 > "$2$1.0/align"
  cat /proc/sys/kernel/random/uuid > "$2$1.0/uuid"
  echo "namespace$1.0" > "$2$1.0/namespace"
  echo "$2$1.0" > "/sys/bus/nd/drivers/$3/bind"
}
if [ "$STAGE" = 1 ]; then
  convert 0 pfn nd_pmem
  convert 1 dax dax_pmem
  /usr/bin/mke2fs -q -t ext4 -b 4096 -F /dev/pmem0 || exit 98
fi
mount -t ext4 -o dax /dev/pmem0 /pmem || exit 98
ls /dev/dax1.0 > /dev/null || exit 98
