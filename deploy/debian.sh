#!/usr/bin/env bash
# deploy/debian.sh SUITE FOLDER PACKAGE[=VERSION]...
# Unpacks packages of another Debian suite into a folder; the system's own packages stay as they are.
# The lists live in a private folder, and apt checks the archive's signature as it does for the machine's own.
set -euo pipefail

readonly suite=$1 folder=$2
shift 2
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly lists=$(cd "$(dirname "$0")/.." && pwd)/.tools/apt/$suite

main() {
  [ -r "$keyring" ] || fail "Debian's archive keyring is not here: install debian-archive-keyring"
  prepare_lists
  private_apt update
  unpack "$@"
}

# The machine's own sources know a mirror that it reaches; the same one carries the other suites.
mirror() {
  . /etc/os-release
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' "Release: $VERSION_CODENAME"
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Label: Debian'
}

prepare_lists() {
  local sites
  sites=$(mirror)
  [ -n "$sites" ] || fail "apt's sources name no Debian mirror: see /etc/apt/sources.list"
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  echo "deb [signed-by=$keyring] ${sites%%$'\n'*} $suite main" >"$lists/sources.list"
}

private_apt() {
  apt-get -qq \
    -o Dir::Etc::SourceList="$lists/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$lists/lists" -o Dir::Cache="$lists/cache" \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o APT::Sandbox::User="$(id -un)" "$@" # apt's own user cannot write into our folders
}

unpack() {
  local package
  fresh=$(mktemp -d "$lists/download.XXXXXX") # not local: the trap reads it after this function
  trap 'rm -rf "$fresh"' EXIT
  (cd "$fresh" && private_apt download "$@")
  mkdir -p "$folder"
  for package in "$fresh"/*.deb; do
    dpkg -x "$package" "$folder"
  done
}

fail() {
  echo "debian.sh: $1" >&2
  exit 1
}

main "$@"
