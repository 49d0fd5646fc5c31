# shellcheck shell=bash
# Installs the programs that are missing, and only those. Never starts, stops or changes a system-wide server.

postgres_bin() {
  local folder
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v initdb || echo /)")"; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
      printf '%s' "$folder"
      return 0
    fi
  done
  return 1
}

# Debian packages start their servers when they are installed and at each boot. These files, removed afterwards,
# keep them from both; a file that exists already is somebody else's and stays as it is.
apt_install() {
  local sudo=() policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d made=() file
  is_root || sudo=(sudo)
  command -v apt-get >/dev/null || die "please install these by hand, this is no Debian or Ubuntu: $*"
  is_root || command -v sudo >/dev/null || die "please install as root: apt-get install $*"
  say "installing: $*"
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    made+=("$policy")
  fi
  if [[ " $* " == *" postgresql "* ]] && [ ! -e "$clusters/socket-hub.conf" ]; then
    "${sudo[@]}" mkdir -p "$clusters"
    echo "create_main_cluster = false" | "${sudo[@]}" tee "$clusters/socket-hub.conf" >/dev/null
    made+=("$clusters/socket-hub.conf")
  fi
  local result=0
  {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  } >&2 || result=$?
  for file in "${made[@]}"; do "${sudo[@]}" rm -f "$file"; done
  [ "$result" = 0 ] || die "apt-get could not install: $*"
  # The package has just come with us, so that nobody relies on its server.
  if [[ " $* " == *" redis-server "* ]] && command -v systemctl >/dev/null; then
    "${sudo[@]}" systemctl disable redis-server >/dev/null 2>&1 || true
  fi
}

# need WHAT...: postgres redis curl openssl cc python venv
need() {
  local what packages=()
  for what in "$@"; do
    case $what in
      postgres) postgres_bin >/dev/null || packages+=(postgresql) ;;
      redis) command -v redis-server redis-cli >/dev/null || packages+=(redis-server redis-tools) ;;
      curl) command -v curl >/dev/null || packages+=(curl ca-certificates) ;;
      openssl) command -v openssl >/dev/null || packages+=(openssl) ;;
      cc) command -v cc >/dev/null || packages+=(build-essential) ;;
      python) command -v python3 >/dev/null || packages+=(python3) ;;
      venv) python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv) ;;
      *) die "need: $what is unknown" ;;
    esac
  done
  [ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
}

need_rust() {
  PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null || die "Rust is missing: https://rustup.rs says how to install it"
}

# python_tool FOLDER PACKAGE...: a virtual environment in the target folder with these packages.
python_tools() {
  local folder=$1 wanted
  shift
  wanted=$(printf '%s\n' "$@")
  if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
    need python venv
    rm -rf "$folder"
    python3 -m venv "$folder" >&2 &&
      "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || return 1
    printf '%s' "$wanted" >"$folder/installed"
  fi
}
