#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, two at a time, and prints what each came to: executions, the
# edges of the program that its corpus reaches, and the inputs of that corpus:
#
#   tests/fuzz/run.sh SECONDS [TARGET...]
#
# It needs cargo-fuzz (`cargo install cargo-fuzz`) and the toolchain that everything else is built with; the
# instrumentation is not stable, so that the compiler is told to allow it. New inputs go to the corpora; keep
# what is worth it with `RUSTC_BOOTSTRAP=1 cargo fuzz cmin --fuzz-dir tests/fuzz TARGET`. What breaks a law is
# left in `tests/fuzz/artifacts`, and the run then fails at its end.

set -euo pipefail
cd "$(dirname "$0")/../.."
export RUSTC_BOOTSTRAP=1

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
    mapfile -t targets < <(cargo fuzz list --fuzz-dir "$FUZZ")
fi

cargo fuzz build --fuzz-dir "$FUZZ"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run_target() {
    local target=$1
    cargo fuzz run --fuzz-dir "$FUZZ" "$target" -- "${LIMITS[@]}" \
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
    log=$logs/$target
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(grep -oE 'cov: [0-9]+ .*corp: [0-9]+' "$log" | tail -n 1 || true)
    edges=$(sed -nE 's/^cov: ([0-9]+) .*/\1/p' <<<"$reached")
    inputs=${reached##*corp: }
    printf '%-16s %12s executions %6s edges %6s inputs\n' \
        "$target" "${executions:-?}" "${edges:-?}" "${inputs:-?}"
    if [ -e "$log.failed" ]; then
        tail -n 40 "$log" >&2
        status=1
    fi
done
exit "$status"
