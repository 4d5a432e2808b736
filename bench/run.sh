#!/usr/bin/env bash
# Measures everything and prints the tables; what each figure means is in bench/README.md.
#
#   bench/run.sh               all of it, some ten minutes
#   bench/run.sh PART...       of call, jwt, transports, propagation, tenants, records, outage, limits, memory, policy, streams
#   FULL=1 bench/run.sh        longer: a million calls, and tenants applied as in life (half an hour)
#
# Exits 1 when a target is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
FULL="${FULL:-}"

call() {
  "$PYTHON" -m bench.call ${FULL:+--seconds 60}
}

jwt() {
  "$PYTHON" -m bench.jwt
}

transports() {
  "$PYTHON" -m bench.transports ${FULL:+--rounds 20}
}

propagation() {
  "$PYTHON" -m bench.fleet_propagation 50 ${FULL:+1000}
}

tenants() {
  "$PYTHON" -m bench.tenants_1000 ${FULL:+--apply}
}

policy() {
  "$PYTHON" -m bench.policy
}

records() {
  "$PYTHON" -m bench.records ${FULL:+200000}
}

outage() {
  if [ -n "$FULL" ]; then "$PYTHON" -m bench.outage; else "$PYTHON" -m bench.outage 300000; fi
}

limits() {
  "$PYTHON" -m bench.limits
}

streams() {
  "$PYTHON" -m bench.streams
}

memory() {
  "$PYTHON" -m bench.memory ${FULL:+--calls 1000000}
}

bash tests/setup.sh bench
if [ $# -eq 0 ]; then set -- call jwt transports propagation tenants records outage limits memory policy streams; fi
for part in "$@"; do
  case "$part" in
    call | jwt | transports | propagation | tenants | records | outage | limits | memory | policy | streams) ;;
    *)
      echo "bench/run.sh: no part $part: there are call, jwt, transports, propagation, tenants, records, outage, limits, memory, policy and streams" >&2
      exit 2
      ;;
  esac
done
echo "$(uname -sm), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), load$(cut -d' ' -f1 /proc/loadavg | sed 's/^/ /') before"
missed=()
for part in "$@"; do
  printf '\n== %s\n' "$part"
  "$part" || missed+=("$part")
done
printf '\nload %s after\n' "$(cut -d' ' -f1 /proc/loadavg)"
if [ ${#missed[@]} -gt 0 ]; then
  echo "targets were missed in: ${missed[*]}"
  exit 1
fi
