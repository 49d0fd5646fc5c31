# shellcheck shell=bash disable=SC2153
# A stack: PostgreSQL, Redis, the three services and N edges, all private, all under one folder.
#
#   RUN/settings   ports, secrets and options; each part is started again with the same ones
#   RUN/pid/NAME   "PID STARTED"
#   RUN/log/NAME   what it said
#   RUN/keys       signing and sealing keys
#   RUN/data       PostgreSQL and Redis; a link when servers cannot reach RUN
#   RUN/env        what callers want to know, once everything is ready
#
# Parts are named postgres redis auth chat user edge edge2 edge3 ...

stack_parts() {
  local edge
  printf '%s\n' postgres redis auth chat user edge
  for ((edge = 2; edge <= EDGES; edge++)); do printf 'edge%s\n' "$edge"; done
}

# Sets up folders; makes RUN/data where the servers' user can work.
stack_folders() {
  local elsewhere
  mkdir -p "$RUN"/{pid,log}
  if [ ! -e "$RUN/data" ]; then
    rm -f "$RUN/data"
    mkdir "$RUN/data"
    if is_root; then
      chown nobody:nogroup "$RUN/data"
      if ! as_server test -w "$RUN/data"; then
        rmdir "$RUN/data"
        elsewhere=/var/tmp/socket-hub-$(id -u)-$(printf %s "$RUN" | cksum | cut -d' ' -f1)
        mkdir -m 700 "$elsewhere" 2>/dev/null ||
          { [ -O "$elsewhere" ] || [ "$(stat -c %U "$elsewhere")" = nobody ]; } ||
          die "$elsewhere belongs to somebody else"
        chown nobody:nogroup "$elsewhere"
        ln -s "$elsewhere" "$RUN/data"
      fi
    fi
  fi
  DATA=$(readlink -f "$RUN/data")
}

# Removes everything that the stack has stored.
stack_forget() {
  if [ -e "$RUN/data" ] || [ -L "$RUN/data" ]; then
    local data
    data=$(readlink -f "$RUN/data")
    case $data in
      "$RUN"/data | /var/tmp/socket-hub-*) rm -rf "$data" ;;
      *) die "$RUN/data leads to $data, which is not ours" ;;
    esac
  fi
  rm -rf "${RUN:?}"/{data,keys,tls,settings,account,env,log,pid}
}

# Chooses ports and secrets. Wants PORT SHARDS EDGES FSYNC, TLS if it is to be on; keeps the secrets of an existing database.
stack_settings() {
  local edge port name
  : "${TLS:=no}"
  POSTGRES_PASSWORD=$(sed -n 's/^POSTGRES_PASSWORD=//p' "$RUN/settings" 2>/dev/null || true)
  : "${POSTGRES_PASSWORD:=$(random_hex 16)}"
  REDIS_PASSWORD=$(random_hex 16)
  free_port && POSTGRES_PORT=$FREE_PORT
  free_port && REDIS_PORT=$FREE_PORT
  prefer_port 9081 && AUTH_ADMIN_PORT=$FREE_PORT
  prefer_port 9082 && CHAT_ADMIN_PORT=$FREE_PORT
  prefer_port 9083 && USER_ADMIN_PORT=$FREE_PORT
  EDGE_PORTS='' EDGE_ADMIN_PORTS=''
  for ((edge = 1; edge <= EDGES; edge++)); do
    port=$((PORT + edge - 1))
    if [ "$edge" = 1 ] && [ "$PORT_WANTED" = yes ] && ! port_is_free "$port"; then
      die "port $port is in use; without --port a free one is taken"
    fi
    prefer_port "$port" && EDGE_PORTS="$EDGE_PORTS $FREE_PORT"
    port=$((edge == 1 ? 9080 : 9088 + edge))
    prefer_port "$port" && EDGE_ADMIN_PORTS="$EDGE_ADMIN_PORTS $FREE_PORT"
  done
  (
    umask 077
    {
      for name in POSTGRES_PASSWORD REDIS_PASSWORD POSTGRES_PORT REDIS_PORT AUTH_ADMIN_PORT CHAT_ADMIN_PORT \
        USER_ADMIN_PORT EDGE_PORTS EDGE_ADMIN_PORTS SHARDS EDGES FSYNC TLS HUB_BIN; do
        printf '%s=%q\n' "$name" "${!name}"
      done
      # Options that came by the environment hold for parts that are started again, too.
      while IFS= read -r name; do
        printf 'export %s=%q\n' "$name" "${!name}"
      done < <(compgen -e | grep -E '^(HUB_EDGE__|HUB_SERVICES__|HUB_MUTANT$|RUST_LOG$)' || true)
    } >"$RUN/settings"
  )
  stack_names
}

# Reads the settings of a stack that exists.
stack_load() {
  # shellcheck source=/dev/null
  . "$RUN/settings"
  DATA=$(readlink -f "$RUN/data")
  stack_names
}

stack_names() {
  DATABASE_URL=postgres://sockethub:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/sockethub
  REDIS_URL=redis://:$REDIS_PASSWORD@127.0.0.1:$REDIS_PORT/
}

# nth WORDS N
nth() { cut -d' ' -f"$(($2 + 1))" <<<"$1"; }

edge_number() {
  local number=${1#edge}
  printf '%s' "${number:-1}"
}

# Starts COMMAND in a session of its own, so that a Ctrl-C reaches only the script, which then stops all in order.
spawn() {
  local name=$1
  shift
  setsid -- "$@" </dev/null >>"$RUN/log/$name.log" 2>&1 9>&- &
  disown
  write_pid "$RUN/pid/$name" $!
}

postgres_init() {
  local bin=$1
  [ ! -f "$DATA/pg/PG_VERSION" ] || return 0
  as_server mkdir -p -m 700 "$DATA/pg"
  # As an argument or in a file, the password would be read by others; the file is gone before anybody can ask.
  (umask 077 && printf %s "$POSTGRES_PASSWORD" >"$DATA/password")
  if is_root; then chown nobody "$DATA/password"; fi
  (cd "$DATA" && as_server "$bin/initdb" -D "$DATA/pg" -U sockethub --pwfile="$DATA/password" -A scram-sha-256 \
    -E UTF8 --locale=C.UTF-8 --data-checksums --no-instructions) >"$RUN/log/initdb.log" 2>&1 ||
    die "initdb failed, see $RUN/log/initdb.log"
  rm -f "$DATA/password"
}

start_postgres() {
  local bin options=()
  bin=$(postgres_bin) || die "PostgreSQL is not installed"
  postgres_init "$bin"
  # fsync off is for tests only: a stored message must survive a power cut.
  [ "$FSYNC" = on ] || options=(-c fsync=off -c synchronous_commit=off -c full_page_writes=off)
  server_prefix
  local try
  # After a SIGKILL the old backends need a moment to notice that their parent is gone.
  for ((try = 0; try < 20; try++)); do
    (cd "$DATA" && spawn postgres "${SERVER_PREFIX[@]}" "$bin/postgres" -D "$DATA/pg" -p "$POSTGRES_PORT" \
      -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 \
      -c shared_buffers=256MB -c max_wal_size=4GB "${options[@]}")
    wait_until 60 postgres_answers_or_ended || break
    if postgres_answers; then break; fi
    sleep 0.25
  done
  postgres_answers || fail_part postgres
  [ "$(psql_ "SELECT 1 FROM pg_database WHERE datname = 'sockethub'")" = 1 ] || psql_ 'CREATE DATABASE sockethub'
}
psql_() {
  PGPASSWORD=$POSTGRES_PASSWORD "$(postgres_bin)/psql" -XAtq -h 127.0.0.1 -p "$POSTGRES_PORT" -U sockethub \
    -d postgres -c "$1"
}
postgres_answers() { psql_ 'SELECT 1' >/dev/null 2>&1; }
postgres_answers_or_ended() { postgres_answers || ! alive "$RUN/pid/postgres"; }

start_redis() {
  as_server mkdir -p "$DATA/redis"
  (
    umask 077
    # Redis carries, PostgreSQL remembers: no persistence, and nothing is evicted behind our back.
    cat >"$DATA/redis/redis.conf" <<CONF
port $REDIS_PORT
bind 127.0.0.1
requirepass $REDIS_PASSWORD
save ""
appendonly no
maxmemory ${HUB_REDIS_MAXMEMORY:-512mb}
maxmemory-policy noeviction
client-output-buffer-limit pubsub 256mb 64mb 60
dir $DATA/redis
daemonize no
CONF
  )
  if is_root; then chown -R nobody:nogroup "$DATA/redis"; fi
  server_prefix
  spawn redis "${SERVER_PREFIX[@]}" "$(command -v redis-server)" "$DATA/redis/redis.conf"
  wait_until 20 redis_answers || fail_part redis
}
redis_() { REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -h 127.0.0.1 -p "$REDIS_PORT" "$@" 2>/dev/null; }
redis_answers() { [ "$(redis_ PING)" = PONG ]; }

start_service() {
  local name=$1 port=$2 unsafe=()
  [ "$FSYNC" = on ] || unsafe=(env HUB_SERVICES__POSTGRES__ALLOW_UNSAFE_DURABILITY=true)
  # One-time codes are files of the folder `outbox`.
  spawn "$name" "${unsafe[@]}" env HUB_SERVICES__OUTBOX__KIND="${HUB_SERVICES__OUTBOX__KIND:-file}" \
    HUB_SERVICES__OUTBOX__FOLDER="${HUB_SERVICES__OUTBOX__FOLDER:-$RUN/outbox}" \
    "$HUB_BIN/hub-services" "$name" --database "$DATABASE_URL" --redis "$REDIS_URL" \
    --keys "$RUN/keys" --admin "127.0.0.1:$port"
}

# A certificate for this machine's own use, signed by itself.
stack_certificate() {
  [ ! -f "$RUN/tls/dev.crt" ] || return 0
  mkdir -p "$RUN/tls"
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' -addext basicConstraints=critical,CA:FALSE -keyout "$RUN/tls/dev.key" -out "$RUN/tls/dev.crt" \
    2>>"$RUN/log/tls.log") || { tail -n 5 "$RUN/log/tls.log" >&2; die "no certificate could be made"; }
}

start_edge() {
  local name=$1 number tls=()
  number=$(edge_number "$name")
  if [ "${TLS:-no}" = yes ]; then tls=(--tls "$RUN/tls"); fi
  spawn "$name" "$HUB_BIN/hub-edge" --listen "127.0.0.1:$(nth "$EDGE_PORTS" "$number")" \
    --admin "127.0.0.1:$(nth "$EDGE_ADMIN_PORTS" "$number")" --redis "$REDIS_URL" --keys "$RUN/keys" \
    --shards "$SHARDS" "${tls[@]}"
}

admin_url() {
  case $1 in
    auth) echo "http://127.0.0.1:$AUTH_ADMIN_PORT" ;;
    chat) echo "http://127.0.0.1:$CHAT_ADMIN_PORT" ;;
    user) echo "http://127.0.0.1:$USER_ADMIN_PORT" ;;
    edge*) echo "http://127.0.0.1:$(nth "$EDGE_ADMIN_PORTS" "$(edge_number "$1")")" ;;
  esac
}

# Starts a part; stack_ready waits for it.
start_part() {
  case $1 in
    postgres) start_postgres ;;
    redis) start_redis ;;
    auth) start_service auth "$AUTH_ADMIN_PORT" ;;
    chat) start_service chat "$CHAT_ADMIN_PORT" ;;
    user) start_service user "$USER_ADMIN_PORT" ;;
    edge*) start_edge "$1" ;;
    *) die "there is no part named $1" ;;
  esac
}

is_ready() { curl -fsS -m 2 -o /dev/null "$(admin_url "$1")/readyz" 2>/dev/null; }
is_ready_or_ended() { is_ready "$1" || ! alive "$RUN/pid/$1"; }
wait_ready() {
  case $1 in postgres | redis) return 0 ;; esac
  wait_until 60 is_ready_or_ended "$1" || true
  is_ready "$1" || fail_part "$1"
}

fail_part() {
  say "--- $RUN/log/$1.log"
  tail -n 20 "$RUN/log/$1.log" >&2 || true
  if alive "$RUN/pid/$1"; then
    case $1 in auth | chat | user | edge*) say "not ready: $(curl -sS -m 2 "$(admin_url "$1")/readyz" 2>&1)" ;; esac
    die "$1 did not become ready"
  fi
  die "$1 ended"
}

# Everything, in order, until ready.
stack_start() {
  local part
  start_part postgres
  start_part redis
  [ -d "$RUN/keys" ] || "$HUB_BIN/hub-services" config keys "$RUN/keys" >>"$RUN/log/keys.log" 2>&1 ||
    { cat "$RUN/log/keys.log" >&2; die "no keys could be made"; }
  [ "${TLS:-no}" = no ] || stack_certificate
  local unsafe=()
  [ "$FSYNC" = on ] || unsafe=(env HUB_SERVICES__POSTGRES__ALLOW_UNSAFE_DURABILITY=true)
  "${unsafe[@]}" "$HUB_BIN/hub-services" migrate --database "$DATABASE_URL" --redis "$REDIS_URL" \
    >>"$RUN/log/migrate.log" 2>&1 || { tail -n 20 "$RUN/log/migrate.log" >&2; die "the migration failed"; }
  for part in $(stack_parts); do
    case $part in postgres | redis) ;; *) start_part "$part" ;; esac
  done
  for part in $(stack_parts); do wait_ready "$part"; done
  stack_env
}

# Stops a part in the way that loses nothing.
stop_part() {
  case $1 in
    postgres) stop_pid "$RUN/pid/postgres" INT 30 ;;
    redis) stop_pid "$RUN/pid/redis" TERM 10 ;;
    *) stop_pid "$RUN/pid/$1" TERM 20 ;;
  esac
}

# The way of a message backwards: edges, services, Redis, PostgreSQL.
stack_stop() {
  local part
  for part in "$RUN"/pid/edge*; do [ ! -e "$part" ] || stop_part "${part##*/}"; done
  for part in user chat auth redis postgres; do stop_part "$part"; done
  rm -f "$RUN/env"
}

stack_is_up() {
  local file
  for file in "$RUN"/pid/*; do
    if alive "$file"; then return 0; fi
  done
  return 1
}

# RUN/env: read by people, tests and fault scripts (`. .run/env`).
stack_env() {
  local part name edge
  local first admin http=http ws=ws
  if [ "${TLS:-no}" = yes ]; then http=https ws=wss; fi
  first=$(nth "$EDGE_PORTS" 1) admin=$(nth "$EDGE_ADMIN_PORTS" 1)
  (
    umask 077
    {
      echo "HUB_HTTP_URL=$http://127.0.0.1:$first"
      echo "HUB_WS_URL=$ws://127.0.0.1:$first/v1/ws"
      echo "HUB_ADMIN_URL=http://127.0.0.1:$admin"
      for ((edge = 2; edge <= EDGES; edge++)); do
        echo "HUB_HTTP_URL_$edge=$http://127.0.0.1:$(nth "$EDGE_PORTS" "$edge")"
        echo "HUB_WS_URL_$edge=$ws://127.0.0.1:$(nth "$EDGE_PORTS" "$edge")/v1/ws"
        echo "HUB_ADMIN_URL_$edge=http://127.0.0.1:$(nth "$EDGE_ADMIN_PORTS" "$edge")"
      done
      for part in auth chat user; do echo "HUB_${part^^}_ADMIN_URL=$(admin_url "$part")"; done
      echo "DATABASE_URL=$DATABASE_URL"
      echo "REDIS_URL=$REDIS_URL"
      for part in $(stack_parts); do
        name=${part^^}
        case $part in edge[0-9]*) name=EDGE_${part#edge} ;; esac
        if [ -f "$RUN/pid/$part" ]; then echo "HUB_${name}_PID=$(pid_of "$RUN/pid/$part")"; fi
      done
      echo "HUB_KEYS=$(printf %q "$RUN/keys")"
      echo "HUB_LOGS=$(printf %q "$RUN/log")"
    } >"$RUN/env.new"
  )
  mv "$RUN/env.new" "$RUN/env"
}

# Builds what a stack runs.
stack_build() {
  need_rust
  need cc
  say "building (release)"
  (cd "$HUB_ROOT" && cargo build --release --locked -p hub-edge -p hub-services -p hub-load)
}
