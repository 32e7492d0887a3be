#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, two at a time, and prints how many executions each had:
#
#   tests/fuzz/run.sh SECONDS [TARGET...]
#
# It needs a nightly toolchain and cargo-fuzz. New inputs go to the corpora; what breaks a law is left in
# `tests/fuzz/artifacts`, and the run then fails at its end.

set -euo pipefail
cd "$(dirname "$0")/../.."

readonly SECONDS_EACH=${1:?seconds for each target}
shift
readonly FUZZ=tests/fuzz
readonly AT_ONCE=2
# A hostile input may neither hang nor make a decoder allocate: a block of history may unpack to some
# 120 MB, everything else to far less.
readonly LIMITS=(-timeout=10 -malloc_limit_mb=300 -rss_limit_mb=2048 -max_len=4096)

if [ $# -gt 0 ]; then
    targets=("$@")
else
    mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir "$FUZZ")
fi

cargo +nightly fuzz build --fuzz-dir "$FUZZ"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run_target() {
    local target=$1
    cargo +nightly fuzz run --fuzz-dir "$FUZZ" "$target" -- "${LIMITS[@]}" \
        -max_total_time="$SECONDS_EACH" -print_final_stats=1 >"$logs/$target" 2>&1 ||
        touch "$logs/$target.failed"
}

for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$AT_ONCE" ]; do
        wait -n
    done
    run_target "$target" &
done
wait

status=0
for target in "${targets[@]}"; do
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
    printf '%-16s %12s executions\n' "$target" "${executions:-?}"
    if [ -e "$logs/$target.failed" ]; then
        tail -n 40 "$logs/$target" >&2
        status=1
    fi
done
exit "$status"
