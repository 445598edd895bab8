#!/bin/sh
# From a bare Debian 12 or 13 to a checked plan: packages, build, and the main job on an OPT-125M that is built here,
# so nothing is downloaded but packages. What it makes lies in build/first_run.
set -eu
cd "$(dirname "$0")/.."
tools/install_packages.sh
cmake --preset release
cmake --build --preset release --target opt-partition
PATH="$PWD/build/release/tools:$PATH"
mkdir -p build/first_run
cd build/first_run
set -x
opt-partition build opt-125m -o opt-125m.onnx
opt-partition opt-125m.onnx --devices 2 -o out
opt-partition inspect out
opt-partition run out --input input_ids='rand(1)' --input attention_mask=ones --dim batch=1 --dim sequence=16 -o res
opt-partition check opt-125m.onnx --devices 2 --dim batch=1 --dim sequence=16
