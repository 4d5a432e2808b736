#!/usr/bin/env bash
# Asks what is known of the vulnerabilities of everything in constraints.txt. Exits 1 where some are known, and only there:
# a service that is away fails nobody's build, and is said plainly.
#
#   tests/audit.sh                       with pip-audit, which is put in .tools/audit once
#   TOOLGATE_PIP_AUDIT=... tests/audit.sh   with another copy of it
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROGRAM=${TOOLGATE_PIP_AUDIT:-.tools/audit/bin/pip-audit}
FLAGS=(--requirement constraints.txt --no-deps --disable-pip --vulnerability-service osv --progress-spinner off)

unknown() {
  echo "audit: NOT DONE: $1. Nothing is known of the $(wc -l <constraints.txt) packages in constraints.txt; run it again where it can be."
  exit 0
}

if [ -z "${TOOLGATE_PIP_AUDIT:-}" ] && [ ! -x "$PROGRAM" ]; then
  { "${PYTHON:-.venv/bin/python}" -m venv .tools/audit && .tools/audit/bin/pip install -q --disable-pip-version-check pip-audit; } \
    >/dev/null 2>&1 || unknown "pip-audit cannot be had here"
fi
[ -x "$PROGRAM" ] || unknown "there is no $PROGRAM"

said=$(timeout 300 "$PROGRAM" "${FLAGS[@]}" 2>&1)
code=$?
if [ "$code" -eq 0 ]; then
  echo "audit: no vulnerability is known in $(wc -l <constraints.txt) packages"
elif grep -qiE '^Found [0-9]+ known vulnerabilit' <<<"$said"; then
  echo "$said"
  echo "audit: VULNERABLE: raise the versions named above in constraints.txt"
  exit 1
else
  unknown "$(tail -n 1 <<<"$said" | cut -c -200)"
fi
