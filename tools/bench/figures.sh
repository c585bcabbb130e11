#!/usr/bin/env bash
# Runs the benchmarks whose figures are promised and prints them as tables: figures.sh DINOMO JSON-FILE.
# COUNT samples of each ratio are taken, and their median is shown.
set -euo pipefail
dinomo=$1 json=$2
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bench() { # package, pattern, time, count
  echo "measuring $1 $2 ..." >&2
  go test -run '^$' -bench "$2" -benchtime "$3" -count "$4" -benchmem "$1" >>"$work/benchmarks" || { cat "$work/benchmarks" >&2; exit 1; }
}
count=${COUNT:-3}
bench ./actors/kn '^BenchmarkKNCachedGet$' 1s "$count"
bench ./actors/kn '^BenchmarkServe$' 100000x "$count"
bench ./actors/kn/engine '^BenchmarkEngineGet$/./^(cached|shortcuts|none)$' 0.2s 1
bench ./actors/kn/engine '^BenchmarkEnginePut$' 0.2s 1
bench ./dpm '^BenchmarkMerge$' 200000x 1
bench ./actors/runtime/runtimetest '^BenchmarkEcho$/./^outstanding=(64|256)$/^size=300B$' 0.5s "$count"
"$dinomo" run --keys "${KEYS:-200000}" --seconds "${SECONDS_EACH:-5}" --report "$work/run.json" >/dev/null
"$dinomo" figures --run "$work/run.json" --json "$json" "$work/benchmarks"
