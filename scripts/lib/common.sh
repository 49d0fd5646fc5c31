# shellcheck shell=bash disable=SC2034
# Shared by all scripts: messages, folders, ports, and processes that are known by their pid.

HUB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HUB_TARGET=${CARGO_TARGET_DIR:-$HUB_ROOT/target}
# Only scripts are silent about C; sorting and number formats must not depend on the caller.
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${HUB_NAME:-${0##*/}}" "$*" >&2
  exit 1
}

# Prints the comment at the head of a script, which is its help.
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$1"; }

is_root() { [ "$(id -u)" = 0 ]; }

# Servers refuse or should not run as root: they become `nobody`.
as_server() {
  if is_root; then
    setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all -- "$@"
  else
    "$@"
  fi
}

# What start_part must exec, as words; `as_server` would keep a shell around.
server_prefix() {
  SERVER_PREFIX=()
  if is_root; then
    SERVER_PREFIX=(setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all --)
  fi
}

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port that nobody listens on, below the range from which the kernel gives ports to outgoing connections.
free_port() {
  local port try
  for ((try = 0; try < 200; try++)); do
    port=$((10240 + (RANDOM * 32768 + RANDOM) % 20000))
    [[ " ${HUB_PORTS_GIVEN:-} " == *" $port "* ]] && continue
    if port_is_free "$port"; then
      HUB_PORTS_GIVEN="${HUB_PORTS_GIVEN:-} $port"
      FREE_PORT=$port
      return
    fi
  done
  die "found no free port"
}

# The wanted port if it is free, else another one.
prefer_port() {
  if port_is_free "$1" && [[ " ${HUB_PORTS_GIVEN:-} " != *" $1 "* ]]; then
    HUB_PORTS_GIVEN="${HUB_PORTS_GIVEN:-} $1"
    FREE_PORT=$1
  else
    free_port
  fi
}

# When the process was started, in clock ticks since boot: tells a pid that is used again from the one that we know.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name in parentheses may hold anything; what follows the last one is numbers.
  stat=${stat##*) }
  # shellcheck disable=SC2086 # words are wanted
  set -- $stat
  [ "$1" != Z ] || return 1
  printf '%s' "${20}"
}

# Writes and reads pid files: "PID STARTED".
write_pid() { printf '%s %s\n' "$2" "$(started_at "$2" || echo 0)" >"$1"; }
alive() {
  local pid started
  [ -f "$1" ] && read -r pid started <"$1" && [ "$(started_at "$pid")" = "$started" ]
}
pid_of() {
  local pid
  read -r pid _ <"$1" && printf '%s' "$pid"
}

# wait_until SECONDS COMMAND...: bounded, 20 looks per second.
wait_until() {
  local tries=$(($1 * 20)) try
  shift
  for ((try = 0; try < tries; try++)); do
    "$@" && return 0
    sleep 0.05
  done
  return 1
}

# stop_pid FILE SIGNAL SECONDS: asks, waits, then kills.
stop_pid() {
  local file=$1 pid
  if alive "$file"; then
    pid=$(pid_of "$file")
    kill "-$2" "$pid" 2>/dev/null || true
    wait_until "$3" not_alive "$file" || {
      say "process $pid (${file##*/}) did not end in $3 s and is killed"
      kill -KILL "$pid" 2>/dev/null || true
      wait_until 5 not_alive "$file" || say "process $pid is still there"
    }
  fi
  rm -f "$file"
}
not_alive() { ! alive "$1"; }
