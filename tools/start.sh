#!/usr/bin/env bash
# Starts one node of a cluster, configured by environment variables as the original's start script does it.
#
#   tools/start.sh ROLE [flags of dinomo ROLE]      or one of tools/start-ROLE.sh
#
# ROLE is dpm, kn, route, monitor, manage or bench. Several IPs in one variable are separated by spaces.
#
#   PRIVATE_IP   the node's own IP (DPM_IPS for a DPM)       all roles
#   PUBLIC_IP    its IP for clients, if it is another         kn
#   DPM_IPS      where the pool is (needed unless a file      dpm kn route monitor manage
#                of DINOMO_CONFIG has ib_config.storage_node_ips)
#   SEED_IP      the routing node that a new KN asks          kn manage
#   MON_IPS      the M-nodes                                  kn route manage bench
#   ROUTING_IPS  the routing nodes                            kn manage bench
#   MGMT_IP      the management node, or nothing              kn monitor
#   BENCH_IPS    the benchmark nodes                          manage
#   MGMT_IPS     the management nodes, for dinomo trigger     manage
#
#   DINOMO         the program; default: bin/dinomo beside this folder, or dinomo on the PATH
#   DINOMO_CONFIG  configuration files, separated by spaces; default: none
set -euo pipefail

die() { echo "$0: $*" >&2; exit 2; }

role=${1:-}
[ -n "$role" ] || die "which role? dpm, kn, route, monitor, manage or bench"
shift
case $role in
dpm)     needed="DPM_IPS" ;;
kn)      needed="PRIVATE_IP DPM_IPS SEED_IP MON_IPS ROUTING_IPS" ;;
route)   needed="PRIVATE_IP DPM_IPS MON_IPS" ;;
monitor) needed="PRIVATE_IP DPM_IPS" ;;
manage)  needed="PRIVATE_IP DPM_IPS SEED_IP MON_IPS ROUTING_IPS" ;;
bench)   needed="PRIVATE_IP MON_IPS ROUTING_IPS" ;;
*)       die "role $role: want dpm, kn, route, monitor, manage or bench" ;;
esac

[ -z "${DINOMO_CONFIG:-}" ] || needed=${needed/DPM_IPS/}
missing=
for name in $needed; do
	[ -n "${!name:-}" ] || missing="$missing $name"
done
[ -z "$missing" ] || die "set$missing for a $role node"

program=${DINOMO:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/bin/dinomo}
[ -x "$program" ] || program=$(command -v dinomo) || die "no program: run make build, or set DINOMO"

files=()
for file in ${DINOMO_CONFIG:-}; do
	files+=(--config "$file")
done
exec "$program" "$role" "${files[@]}" "$@"
