# shellcheck shell=bash disable=SC2031
# Deliberate faults of the services, built in by a feature: the oracle must catch each, and must be content with the
# same kills without it. Everything here needs checks.sh and faults.sh.

# mutants: deliberate faults of the services are caught by the oracle (HUB_MUTANTS names some of them)
check_mutants() {
  local mutant result=0
  stack_build || return 1
  say "building the mutants"
  # In the same folder: only the services themselves are compiled again. The next build puts theirs back in place.
  (cd "$HUB_ROOT" && CARGO_TARGET_DIR=$HUB_TARGET cargo build --release --locked -p hub-services --features mutants) ||
    return 1
  mkdir -p "$CHECK/mutants"
  cp -f "$HUB_TARGET/release/hub-services" "$CHECK/mutants/"
  stack_build || return 1
  ln -sf "$HUB_TARGET/release/hub-edge" "$HUB_TARGET/release/hub-load" "$CHECK/mutants/"
  for mutant in ${HUB_MUTANTS:-no_redelivery early_directory number_first delete_first sync_sequence}; do
    one "the oracle catches $mutant" caught "$mutant" || result=1
    # What the oracle objects to is the mutant, not the kill.
    one "without $mutant the same kills leave the oracle content" content "$mutant" || result=1
  done
  return "$result"
}

# Several tries: a fault has to fall between two steps of the services.
caught() {
  local try
  for try in 1 2 3; do
    if HUB_MUTANT=$1 HUB_BIN=$CHECK/mutants with_mutant_stack mutant_run "$1" 2; then
      say "$1 was caught in run $try"
      return 0
    fi
  done
  return 1
}
content() { with_mutant_stack mutant_run "$1" 0; }

# Addresses are asked for at each delivery, so that a fault finds the service between commit and delivery. All that
# waits becomes one transaction.
with_mutant_stack() {
  HUB_SERVICES__DELIVERY__DIRECTORY_REUSE_MS=0 HUB_SERVICES__WORKER__READ_ENTRIES_MAX=4096 with_stack --shards 2 --edges 3 -- "$@"
}

# mutant_run NAME RESULT: load with the kills that NAME shows in; hub-load must end with RESULT.
# The verdict comes before unanswered sends are repeated: what only a repeat brings has not been delivered.
mutant_run() {
  local result=0 kill
  SECOND_CHAT=
  seed "$OUT/tokens.jsonl" 400 200 6
  load_start --rate 500 --duration 20s --warmup 2s --settle 4s --quiet 4s --faults
  for kill in 1 2 3 4 5 6; do
    wait_until 30 acked_at_least $((1200 * kill)) || true
    "mutant_fault_$1" "$kill"
  done
  wait "$LOAD_PID" || result=$?
  if [ -n "$SECOND_CHAT" ]; then kill "$SECOND_CHAT" && wait "$SECOND_CHAT" || true; fi
  cat "$OUT/load.txt" >&2
  [ "$result" = "$2" ] || return 1
  # A reconnect in the quiet time proves nothing.
  [ "$result" = 0 ] || sed '1,/^  oracle /d' "$OUT/load.txt" | grep -v '^  quiet_reconnect ' | grep -q '^  [a-z]'
}
mutant_fault_no_redelivery() { last_strike "$1"; }
mutant_fault_delete_first() { last_strike "$1"; }
mutant_fault_number_first() { fault chat 20 || true; }
mutant_fault_early_directory() { held_commit; }
mutant_fault_sync_sequence() { overtaken_commit "$1"; }

# About 10,960 sends are offered; a later message of a room makes its members fetch what they lack, so that some
# faults show only in the last second of the load.

# The service commits, waits for a Redis that stands still, and dies: nobody was told.
last_strike() {
  local redis
  [ "$1" = 6 ] || return 0
  redis=$(env_of HUB_REDIS_PID)
  wait_until 40 acked_at_least 10880 || true
  kill -STOP "$redis"
  sleep 0.3
  kill -KILL "$(env_of HUB_CHAT_PID)"
  kill -CONT "$redis"
  HUB_RUN=$RUN "$HUB_ROOT/scripts/up" --restart chat >&2
}

# hold SECONDS SQL: keeps what the statement locked.
hold() {
  "$(postgres_bin)/psql" -XAtq "$(env_of DATABASE_URL)" -c "BEGIN; $2; SELECT pg_sleep($1); COMMIT" >/dev/null
}

# The commit waits for a lock while clients move to another edge and sync there.
held_commit() {
  hold 3.5 'LOCK TABLE events IN EXCLUSIVE MODE' &
  local psql=$!
  fault edge 20 || true
  wait "$psql" || true
}

# Of two chat workers one is held inside a transaction. The other one's, which began later, commit; the clients of a
# killed edge sync on the next one; that one dies too, and while they are away the older transaction commits. What it
# stored must come with their next sync: nothing else tells them.
overtaken_commit() {
  local first partitions psql
  first=$(env_of HUB_CHAT_PID)
  if [ "$1" = 1 ]; then
    FIRST_WORKER=$(lease_of 0)
    "$HUB_BIN/hub-services" chat --database "$(env_of DATABASE_URL)" --redis "$(env_of REDIS_URL)" \
      --keys "$(env_of HUB_KEYS)" --admin 127.0.0.1:0 >"$OUT/chat2.log" 2>&1 &
    SECOND_CHAT=$!
  fi
  [ "$1" = 6 ] || return 0
  # The last sends of all partitions wait, and no send follows them.
  wait_until 40 acked_at_least 10600 || true
  kill -STOP "$first" "$SECOND_CHAT"
  partitions=$(for ((p = 0; p < 8; p++)); do [ "$(lease_of "$p")" != "$FIRST_WORKER" ] || printf '%s,' "$p"; done)
  say "the first of two workers owns the partitions ${partitions%,}"
  wait_until 10 load_has_ended || true
  # A transaction locks the heads of its rooms in ascending order: it has begun when it comes to these.
  hold 1.6 "SELECT FROM room_heads WHERE room IN (SELECT room FROM room_heads
    WHERE get_byte(uuid_send(room), 8) % 8 IN (${partitions%,}) ORDER BY room DESC LIMIT 6) FOR UPDATE" &
  psql=$!
  sleep 0.2
  kill -CONT "$first"
  sleep 0.2
  kill -CONT "$SECOND_CHAT"
  sleep 0.2
  kill -KILL "$(env_of HUB_EDGE_PID)"
  sleep 0.9
  kill -KILL "$(env_of HUB_EDGE_2_PID)"
  wait "$psql" || true
}
lease_of() { stack_redis GET "hub:lease:{chat.$1}" | cut -d ' ' -f 1; }
load_has_ended() { grep -q 'phase=settle' "$OUT/status" || ! kill -0 "$LOAD_PID" 2>/dev/null; }
