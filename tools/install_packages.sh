#!/bin/sh
# Installs what a build on Debian 12 or 13 needs; does nothing where all of it is there.
set -eu
packages="g++ cmake ninja-build libonnx-dev libdnnl-dev llvm-19-dev libzstd-dev zlib1g-dev libprotobuf-dev
  protobuf-compiler libboost-graph-dev libeigen3-dev doctest-dev libcli11-dev librapidcheck-dev libvalijson-dev
  nlohmann-json3-dev libopenmpi-dev openmpi-bin iproute2
  clang-format-19 dpkg-dev file"

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
  as_root=
elif [ -t 0 ] && command -v sudo >/dev/null; then
  as_root=sudo
else
  echo "not installed:$missing; as root: apt-get install --no-install-recommends$missing" >&2
  exit 1
fi
echo "installing$missing" >&2
# An index that can't be renewed (no network, but a local archive) may still do.
$as_root apt-get update -q </dev/null || echo "apt-get update failed, going on with the index that is there" >&2
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null
