#!/usr/bin/env bash
# The same seed gives the same JSON and the same pcapng: ten runs of the debug build, ten of the release build, one digest.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q --bin pktlab
cargo build -q --release --bin pktlab
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ask=(--seed 7 -f tests/data/web --from pod/default/client --to svc/default/web:80)
for build in debug release; do
  for n in 1 2 3 4 5 6 7 8 9 10; do
    "target/$build/pktlab" trace "${ask[@]}" --output json > "$out/$build-$n.json"
    "target/$build/pktlab" export pcapng "${ask[@]}" --out "$out/$build-$n.pcapng"
  done
done
for kind in json pcapng; do
  digests=$(sha256sum "$out"/*."$kind" | cut -d' ' -f1 | sort -u | wc -l)
  if [ "$digests" != 1 ]; then
    echo "determinism: $digests different .$kind files from one seed" >&2
    exit 1
  fi
done
echo "determinism: 20 runs of one seed gave one JSON and one pcapng"

# A stranger's reader takes the capture: nothing on standard error but its remark about root.
if command -v tshark >/dev/null; then
  complaints=$(tshark -r "$out/release-1.pcapng" 2>&1 >"$out/tshark.txt" | grep -v '^Running as user' || true)
  if [ -n "$complaints" ] || ! grep -q 'HTTP' "$out/tshark.txt"; then
    echo "tshark does not read the capture cleanly: $complaints" >&2
    exit 1
  fi
  echo "tshark reads the capture without a warning"
else
  echo "SKIPPED: tshark is not here to read the capture"
fi
