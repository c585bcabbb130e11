#!/bin/sh
# Runs in the guest: a whole cluster with fabric ibverbs. The main job on it; then a KN is killed, then the DPM, and every
# value that was acknowledged must be read again each time.
network=10.9.0.0/24
/usr/bin/ip route add local $network dev lo # every node has an address of its own; only the card's is configured
export PRIVATE_IP=10.9.0.241 ROUTING_IPS=10.9.0.4
common="--network $network --kns 2 --set threads.memory=1 --set dinomo.lease.length=5s"
say() { echo "cluster: $*, at $(cut -d' ' -f1 /proc/uptime) s"; }
fail() {
  say "FAILED: $*"
  for f in /dev/shm/*/logs/*; do
    echo "== $f"
    tail -n 20 "$f"
  done
  exit 1
}

# process ROLE: the first process of that role
process() {
  for p in /proc/[0-9]*; do
    tr '\0' ' ' < "$p/cmdline" 2>/dev/null | grep -q "^/dinomo $1 " && echo "${p#/proc/}" && return
  done
  return 1
}

mkdir -p /dev/shm/run /dev/shm/up
cd /dev/shm || exit 1
say "the main job"
/dinomo run --fabric ibverbs $common --keys 2000 --value 256 --seconds 2 --threads 1 --outstanding 8 --cache-mb 1 \
  --keep /dev/shm/run > /dev/shm/report 2>&1 || { cat /dev/shm/report; fail "dinomo run"; }
grep -A3 '^load\|^95/5\|^50/50' /dev/shm/report
rm -rf /dev/shm/run

say "a cluster that stays"
/dinomo up $common --set capacities.storage-cap=256MB --set dinomo.fabric=ibverbs --set dinomo.data-dir=/dev/shm/up > /dev/shm/up.log 2>&1 &
up=$!
keys=40
cli() { /dinomo cli "$@" 2>/dev/shm/cli.err; }
# attempt N COMMAND...: until it works
attempt() {
  left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ $left -gt 0 ] || { cat /dev/shm/cli.err /dev/shm/up.log; return 1; }
    kill -0 $up 2>/dev/null || { cat /dev/shm/up.log; return 1; }
    sleep 1
  done
}
put_all() {
  i=0
  while [ $i -lt $keys ]; do
    echo "PUT key$i $1-$i"
    i=$((i + 1))
  done | cli > /dev/null
}
check_all() {
  i=0
  while [ $i -lt $keys ]; do
    echo "GET key$i"
    i=$((i + 1))
  done | cli > /dev/shm/got || return 1
  i=0
  while [ $i -lt $keys ]; do
    echo "$1-$i"
    i=$((i + 1))
  done | cmp -s - /dev/shm/got
}
attempt 60 put_all first || fail "no put works"
attempt 5 check_all first || fail "values differ"

kn=$(process kn)
say "kill -9 of a KN, process $kn"
[ -n "$kn" ] && kill -9 "$kn" || fail "no KN to kill"
attempt 60 check_all first || fail "values are lost with a KN"
attempt 60 put_all second || fail "no put works without a KN"
attempt 5 check_all second || fail "values differ without a KN"

dpm=$(process dpm)
say "kill -9 of the DPM, process $dpm"
[ -n "$dpm" ] && kill -9 "$dpm" || fail "no DPM to kill"
attempt 90 check_all second || fail "values are lost with the DPM"
attempt 60 put_all third || fail "no put works with the new DPM"
attempt 5 check_all third || fail "values differ with the new DPM"
[ "$(process dpm)" != "$dpm" ] || fail "the DPM is the old one"

kill -INT $up
wait $up || fail "dinomo up ended with $?"
process '[a-z]*' && fail "processes are left"
say "all is well"
