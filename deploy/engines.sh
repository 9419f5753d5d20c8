#!/usr/bin/env bash
# Docker Engines of another version and with either image store, beside the machine's own.
#   deploy/engines.sh fetch            Docker 28.5 into .tools/engines/28.5: engine, command, buildx, compose
#   deploy/engines.sh start NAME       overlay2 or containerd; prints the address for DOCKER_HOST
#   deploy/engines.sh stop [NAME]      ends it, or both, and removes its data
#   deploy/engines.sh each COMMAND...  runs the command on each of the two, and on the machine's own engine
set -euo pipefail
cd "$(dirname "$0")/.."

readonly version=${ENGINE_VERSION:-28.5}
readonly engines=$PWD/.tools/engines
readonly programs=$engines/$version/usr
readonly stores=(overlay2 containerd)

# A unix socket's path has 107 bytes at most, so sockets are not under this folder, which may be deep.
readonly sockets=/run/cooperage-$(cksum <<<"$PWD" | cut -d' ' -f1)

main() {
  case ${1:-} in
    fetch) fetch ;;
    start) start "${2:?which one: ${stores[*]}}" ;;
    stop) for name in "${@:2}"; do stop "$name"; done; [ $# -gt 1 ] || stop_all ;;
    each) shift; each "$@" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;;
  esac
}

fetch() {
  [ ! -x "$programs/sbin/dockerd" ] || return 0
  say "fetching Docker $version from Debian testing into .tools/engines/$version"
  local fresh=$engines/fetching
  rm -rf "$fresh"
  deploy/debian.sh testing "$fresh" "docker.io=$version.*" "docker-cli=$version.*" \
    containerd docker-buildx docker-compose </dev/null >&2 ||
    fail "Debian testing has no Docker $version now: name the version it has with ENGINE_VERSION"
  mv "$fresh" "$engines/$version"
}

# --- one engine --------------------------------------------------------------------------------------

start() {
  local name=$1
  [ "$(id -u)" = 0 ] || fail "an engine is started by root only"
  command -v runc >/dev/null || fail "runc is not here: run deploy/setup.sh engines"
  command -v ip >/dev/null || fail "ip is not here: run deploy/setup.sh engines"
  fetch
  stop "$name"
  mkdir -p "$engines/$name" "$sockets/$name"
  configure "$name"
  add_bridge "$name"
  start_containerd "$name"
  start_dockerd "$name"
  echo "unix://$sockets/$name/docker.sock"
}

configure() {
  local snapshotter=false
  [ "$1" != containerd ] || snapshotter=true
  cat >"$engines/$1/daemon.json" <<END
{
  "features": { "containerd-snapshotter": $snapshotter },
  "data-root": "$engines/$1/data",
  "exec-root": "$sockets/$1/exec",
  "pidfile": "$sockets/$1/dockerd.pid",
  "hosts": ["unix://$sockets/$1/docker.sock"],
  "containerd": "$sockets/$1/containerd.sock",
  "bridge": "$(bridge "$1")",
  "iptables": false,
  "ip6tables": false
}
END
  cat >"$engines/$1/containerd.toml" <<END
version = 3
root = "$engines/$1/containerd"
state = "$sockets/$1/containerd"
[grpc]
address = "$sockets/$1/containerd.sock"
END
}

# Its own bridge, and no rules: a second engine that wrote rules would tear down those of the first.
bridge() { echo "cooper-${1::8}"; }

add_bridge() {
  local number=1
  [ "$1" = overlay2 ] || number=2
  ip link add "$(bridge "$1")" type bridge
  ip address add "172.31.25$number.1/24" dev "$(bridge "$1")"
  ip link set "$(bridge "$1")" up
}

# A containerd of its own: dockerd would take the machine's, where it finds one, with the containers of the other engine.
start_containerd() {
  launch "$1" containerd --config "$engines/$1/containerd.toml"
  wait_for "$1" containerd test -S "$sockets/$1/containerd.sock"
}

start_dockerd() {
  launch "$1" dockerd --config-file "$engines/$1/daemon.json"
  wait_for "$1" dockerd docker -H "unix://$sockets/$1/docker.sock" version
}

launch() {
  local name=$1 program=$2
  shift
  PATH=$programs/bin:$programs/sbin:$PATH \
    setsid -f "$@" </dev/null >>"$engines/$name/$program.log" 2>&1
}

wait_for() {
  local name=$1 program=$2
  shift 2
  for _ in $(seq 100); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.3
  done
  tail -n 5 "$engines/$name/$program.log" >&2
  fail "$program of the engine $name is not up after half a minute: its log is .tools/engines/$name/$program.log"
}

stop_all() {
  for store in "${stores[@]}"; do
    stop "$store"
  done
  rmdir "$sockets" 2>/dev/null || true
}

stop() {
  end "$1" dockerd
  end "$1" containerd-shim
  end "$1" containerd
  unmount_below "$sockets/$1"
  unmount_below "$engines/$1"
  rm -rf "${sockets:?}/$1" "${engines:?}/$1"
  ! ip link show "$(bridge "$1")" >/dev/null 2>&1 || ip link delete "$(bridge "$1")"
}

# Only programs of ours whose arguments name this engine's folders: others on the machine may be called the same.
end() {
  local pids
  pids=$(ours "$1" "$2")
  [ -n "$pids" ] || return 0
  kill $pids
  for _ in $(seq 100); do
    pids=$(ours "$1" "$2")
    [ -n "$pids" ] || return 0
    sleep 0.1
  done
  kill -9 $pids
}

ours() {
  local directory
  for directory in /proc/[0-9]*; do
    [[ $(readlink "$directory/exe") == "$programs"/*/"$2"* ]] || continue
    ! tr '\0' ' ' <"$directory/cmdline" 2>/dev/null | grep -qE "($sockets|$engines)/$1/" || basename "$directory"
  done 2>/dev/null
}

unmount_below() {
  local mount
  for mount in $(awk -v folder="$1/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r); do
    umount --lazy "$mount"
  done
}

# --- all of them -------------------------------------------------------------------------------------

each() {
  trap stop_all EXIT
  local address failed=()
  for store in "${stores[@]}"; do
    address=$(start "$store")
    on "$version $store" "$address" "$@" || failed+=("$store")
    stop "$store"
  done
  on "the machine's own" "${DOCKER_HOST:-unix:///var/run/docker.sock}" "$@" || failed+=(own)
  [ ${#failed[@]} = 0 ] || fail "failed on: ${failed[*]}"
}

on() {
  local title=$1 address=$2
  shift 2
  say "$title: Docker Engine $(docker -H "$address" version --format '{{.Server.Version}}')"
  DOCKER_HOST=$address "$@"
}

say() { echo "==> $1" >&2; }

fail() {
  echo "engines: $1" >&2
  exit 1
}

main "$@"
