# shellcheck shell=bash
# Load with a fault: `hub-load` runs against a stack of scripts/up while a part of it is killed and started again.
# Everything here needs RUN, and RUN/env of a stack that is ready.

# The stack for load: limits that one address with thousands of users would hit are off.
load_stack_up() {
  HUB_RUN=$RUN HUB_EDGE__LIMITS__MESSAGES_PER_SECOND=0 HUB_EDGE__LIMITS__CONNECTIONS_PER_ADDRESS=0 \
    HUB_EDGE__LIMITS__BYTES_PER_SECOND=0 HUB_EDGE__LIMITS__HANDSHAKES_PER_SECOND=0 \
    HUB_EDGE__LIMITS__CALLS_PER_SECOND=0 \
    "$HUB_ROOT/scripts/up" --detach --fresh --no-build "$@" >&2
}
load_stack_down() { HUB_RUN=$RUN "$HUB_ROOT/scripts/down" --purge >&2; }

env_of() { sed -n "s/^$1=//p" "$RUN/env"; }

# stack_redis COMMAND...: asks the Redis of the stack.
stack_redis() {
  REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' "$RUN/settings") \
    redis-cli -h 127.0.0.1 -p "$(sed -n 's/^REDIS_PORT=//p' "$RUN/settings")" "$@"
}

# seed OUT USERS ROOMS MEMBERS
seed() {
  "$HUB_BIN/hub-services" seed --database "$(env_of DATABASE_URL)" --redis "$(env_of REDIS_URL)" \
    --keys "$(env_of HUB_KEYS)" --users "$2" --rooms "$3" --members "$4" --out "$1" >&2
}

# status NAME: a number of hub-load's status file, 0 while there is none.
status() {
  local value
  value=$(sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" "$OUT/status" 2>/dev/null | head -n 1)
  printf '%s' "${value:-0}"
}
acked_at_least() { [ "$(status acked)" -ge "$1" ] || ! kill -0 "$LOAD_PID" 2>/dev/null; }
unacked_at_least() { [ "$(status unacked)" -ge "$1" ] || ! kill -0 "$LOAD_PID" 2>/dev/null; }

# load_start [OPTION]...: runs hub-load into $OUT with the tokens of $OUT/tokens.jsonl.
load_start() {
  local url urls=()
  while IFS= read -r url; do urls+=(--url "$url"); done < <(sed -n 's/^HUB_WS_URL[_0-9]*=//p' "$RUN/env")
  rm -f "$OUT/status"
  "$HUB_BIN/hub-load" run chat --tokens "$OUT/tokens.jsonl" "${urls[@]}" --http "$(env_of HUB_HTTP_URL)" \
    --database "$(env_of DATABASE_URL)" --status-file "$OUT/status" --json "$OUT/load.json" "$@" \
    >"$OUT/load.txt" 2>"$OUT/load.log" &
  LOAD_PID=$!
}

# fault KIND UNACKED: strikes while at least so many sends wait for their answer, and repairs at once.
# To be sure of that number the part that answers is paused until it is reached.
fault() {
  local kind=$1 least=$2 victim paused unacked
  case $kind in
    none) return 0 ;;
    flushall) victim='' paused=$(env_of HUB_CHAT_PID) ;;
    chat | redis) victim=$(env_of "HUB_${kind^^}_PID") paused=$victim ;;
    # One of several: its connections go elsewhere.
    edge) victim=$(env_of HUB_EDGE_PID) paused=$victim ;;
    # Its workers would go on without the parent: the service waits instead.
    postgres) victim=$(env_of HUB_POSTGRES_PID) paused=$(env_of HUB_CHAT_PID) ;;
    *) die "there is no fault named $kind" ;;
  esac
  kill -STOP "$paused"
  wait_until 10 unacked_at_least "$least" || true
  unacked=$(status unacked)
  if [ -n "$victim" ]; then
    kill -KILL "$victim"
  else
    stack_redis FLUSHALL >/dev/null
  fi
  [ "$paused" = "$victim" ] || kill -CONT "$paused"
  say "$kind struck with $unacked sends unanswered"
  printf '{"fault":"%s","unacked":%s}\n' "$kind" "$unacked" >>"$OUT/faults.jsonl"
  [ "$unacked" -ge "$least" ] || return 1
  [ -z "$victim" ] || HUB_RUN=$RUN "$HUB_ROOT/scripts/up" --restart "$kind" >&2
}
