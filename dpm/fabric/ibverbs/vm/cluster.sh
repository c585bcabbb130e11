#!/bin/sh
# Runs in the guest: a whole cluster with fabric ibverbs. Without STAGE: the main job; then a cluster that stays, of which a KN
# is killed, then the DPM; every value that was acknowledged must be read again each time. With STAGE (test-rdma.sh
# pmem-cluster) the fabric is FABRIC, the pool is on persistent memory, and the machine is reset between stage 1 and stage 2.
network=10.9.0.0/24
/usr/bin/ip route add local $network dev lo # every node has an address of its own; only the card's is configured
export PRIVATE_IP=10.9.0.241 ROUTING_IPS=10.9.0.4
# A small pool: all of it is pinned when it is registered, which takes a while under emulation.
common="--network $network --kns 2 --set threads.memory=1 --set dinomo.lease.length=5s --set capacities.storage-cap=64MiB
  --set kvs_config.log-block-size=1MiB --set dinomo.limits.value=256KiB"
say() { echo "cluster: $*, at $(cut -d' ' -f1 /proc/uptime) s"; }
fail() {
  say "FAILED: $*"
  cat /dev/shm/cli.err /dev/shm/up.log 2>/dev/null
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
murder() { # role
  victim=$(process "$1")
  say "kill -9 of a $1, process $victim"
  [ -n "$victim" ] && kill -9 "$victim" || fail "no $1 to kill"
}

keys=40
cli() { /dinomo cli "$@" 2>/dev/shm/cli.err; }
lines() { # format, with %i for the number
  i=0
  while [ $i -lt $keys ]; do
    echo "$1" | sed "s/%i/$i/g"
    i=$((i + 1))
  done
}
put_all() { lines "PUT key%i $1-%i" | cli > /dev/null; }
check_all() { lines "GET key%i" | cli > /dev/shm/got && lines "$1-%i" | cmp -s - /dev/shm/got; }
# attempt N COMMAND...: until it works, N times at most
attempt() {
  left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ $left -gt 0 ] && kill -0 $up 2>/dev/null || return 1
    sleep 1
  done
}

main_job() {
  say "the main job"
  mkdir -p /dev/shm/run
  /dinomo run --fabric ibverbs $common --keys 2000 --value 256 --seconds 2 --threads 1 --outstanding 8 --cache-mb 1 \
    --keep /dev/shm/run > /dev/shm/report 2>&1 || { cat /dev/shm/report; fail "dinomo run"; }
  grep -A3 '^load\|^95/5\|^50/50' /dev/shm/report
  rm -rf /dev/shm/run
}
start() { # further flags
  say "a cluster that stays, fabric ${FABRIC:=ibverbs}"
  mkdir -p /dev/shm/up
  /dinomo up $common --set dinomo.fabric=$FABRIC --set dinomo.data-dir=/dev/shm/up "$@" > /dev/shm/up.log 2>&1 &
  up=$!
}
stop() {
  kill -INT $up
  wait $up || fail "dinomo up ended with $?"
  process '[a-z]*' && fail "processes are left"
}
kill_nodes() {
  attempt 60 put_all first || fail "no put works"
  attempt 5 check_all first || fail "values differ"
  murder kn
  attempt 60 check_all first || fail "values are lost with a KN"
  attempt 60 put_all second || fail "no put works after the death of a KN"
  attempt 5 check_all second || fail "values differ after the death of a KN"
  murder dpm
  attempt 90 check_all second || fail "values are lost with the DPM"
  attempt 60 put_all third || fail "no put works with the new DPM"
  attempt 5 check_all third || fail "values differ with the new DPM"
  [ "$(process dpm)" != "$victim" ] || fail "the DPM is the old one"
}
# suspend_kn stops a KN in its tracks, so that it can only be suspected. Its rank is fenced when its lease has run out, by a swap of its lease
# word through the card; when it goes on it must notice.
fences() { cat /dev/shm/up/logs/*-dpm.log | grep -c 'is fenced up to'; }
suspend_kn() {
  before=$(fences)
  victim=$(process kn)
  say "SIGSTOP of a kn, process $victim"
  kill -STOP "$victim" || fail "no kn to stop"
  attempt 90 check_all third || fail "values are lost with a KN that stands still"
  attempt 60 put_all fourth || fail "no put works while a KN stands still"
  [ "$(fences)" -gt "$before" ] || fail "nobody was fenced"
  kill -CONT "$victim"
  attempt 60 check_all fourth || fail "values differ after a KN has gone on"
  attempt 60 put_all fifth || fail "no put works after a KN has gone on"
  attempt 5 check_all fifth || fail "values differ in the end"
}

# start_persistent starts a cluster whose pool is on persistent memory: a device where a card must pin it, else a file of a file
# system with dax, which must be mapped with MAP_SYNC (sf: synchronous page faults).
start_persistent() {
  . /pmem.sh
  pool=/pmem/pool.dinomo
  [ "$FABRIC" != ibverbs ] || pool=/dev/dax1.0
  start --set dinomo.pool.path=$pool --set dinomo.pool.durability=dax
}
check_mapping() {
  [ "$FABRIC" != ibverbs ] || return 0
  awk '/^[0-9a-f]+-/{ours = /pool.dinomo/} ours && /^VmFlags/ && / sf/{found = 1} END{exit !found}' "/proc/$(process dpm)/smaps" ||
    fail "the pool is not mapped with MAP_SYNC"
}

cd /dev/shm || exit 1
case $STAGE in
1)
  start_persistent
  kill_nodes
  check_mapping
  say "ACKED=third"
  (while :; do put_all third; done) & # at work when it happens
  sleep 1
  echo b > /proc/sysrq-trigger
  ;;
2)
  start_persistent
  attempt 60 check_all third || fail "values are lost with the machine"
  attempt 10 put_all fourth || fail "no put works after the reset"
  attempt 5 check_all fourth || fail "values differ after the reset"
  check_mapping
  stop
  say "all is well"
  ;;
*)
  main_job
  start
  kill_nodes
  suspend_kn
  stop
  say "all is well"
  ;;
esac
