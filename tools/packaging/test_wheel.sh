#!/bin/sh
# The wheel does what the README says, in a fresh virtual environment: test_wheel.sh builds it, test_wheel.sh WHEEL takes
# one. Where Python's venv or PyPI is missing it says so, and is no failure.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
skip() {
  echo "the wheel's test is skipped: $*"
  exit 0
}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || skip "no python3 of 3.11 or later"
python3 -c 'import ensurepip, venv' 2>/dev/null || skip "python3 has no venv (apt-get install python3-venv)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$work/venv"
"$work/venv/bin/pip" download --quiet --no-deps --dest "$work" pip >/dev/null 2>&1 || skip "PyPI is not reached"

wheel=${1:-}
if [ -z "$wheel" ]; then
  tools/packaging/build_wheel.sh
  wheel=$(ls "$here"/build/wheel/opt_partition-*.whl)
fi

# Each library inside has its licence, and nothing of MPI is there.
"$work/venv/bin/python" tools/packaging/look_into_wheel.py "$wheel"

"$work/venv/bin/pip" install --quiet "$wheel[text]"
cd "$work"
unset PYTHONPATH OPT_PARTITION_PROGRAM
PATH="$work/venv/bin:$PATH"
[ "$(command -v opt-partition)" = "$work/venv/bin/opt-partition" ]
# The program looks for its libraries beside itself alone.
if ldd venv/lib/python3*/site-packages/opt_partition/bin/opt-partition | grep -E 'not found|(dnnl|protobuf|onnx|gomp).* => /(usr|lib)'; then
  echo "libraries of the system are taken, or none"
  exit 1
fi
[ "$(opt-partition --help | head -n 1)" = "$(python -m opt_partition --help | head -n 1)" ]

# The README's first example: the commands of first_run.sh.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=passive
grep '^opt-partition ' "$here/tools/first_run.sh" > commands
[ "$(wc -l < commands)" -ge 5 ]
(set -ex && . ./commands)
# The API, and what docs/python.md shows.
OPTP_SOURCE=$here PYTHONDONTWRITEBYTECODE=1 python -m unittest discover -s "$here/tests/python/api" -t "$here/tests/python/api"
echo "the wheel holds: $wheel"
