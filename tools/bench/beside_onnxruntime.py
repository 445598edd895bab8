#!/usr/bin/env python3
"""Times a model beside ONNX Runtime: both in turn, on as many threads, so that a busy machine slows both.

  beside_onnxruntime.py model.onnx --dim batch=1 --dim sequence=128 [--devices 2] [--program build/release/tools/opt-partition]

ONNX Runtime gets a thread for each that the devices have together. Prints the median of each, and ours / theirs.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE", help="size of a dim that the model leaves open")
    p.add_argument("--devices", type=int, default=1)
    p.add_argument("--threads-per-device", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5, help="turns of each")
    p.add_argument("--runs", type=int, default=5, help="timed runs in a turn")
    p.add_argument("--program", default="build/release/tools/opt-partition")
    return p.parse_args()


def ours(o):
    """Milliseconds: the median of one turn."""
    with tempfile.TemporaryDirectory() as folder:
        command = [o.program, "bench", o.model, "--devices", str(o.devices), "--threads-per-device", str(o.threads_per_device),
                   "--runs", str(o.runs), "--warm-up", "2", "--json", folder + "/bench.json"]
        for dim in o.dim:
            command += ["--dim", dim]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(folder + "/bench.json") as file:
            return json.load(file)["median_ms"]


def inputs_of(session, sizes, numpy):
    """Ones for whole numbers, so that ids and masks are valid; normal numbers for the rest."""
    random = numpy.random.default_rng(0)
    made = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else sizes.get(d) for d in i.shape]
        if None in shape:
            sys.exit(f"input '{i.name}' {i.shape}: give each open dim with --dim NAME=SIZE")
        dtype = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool", "tensor(float16)": "float16", "tensor(float)": "float32"}.get(i.type)
        if not dtype:
            sys.exit(f"input '{i.name}': {i.type} is not supported here")
        made[i.name] = random.standard_normal(shape).astype(dtype) if dtype.startswith("float") else numpy.ones(shape, dtype)
    return made


def main():
    o = arguments()
    try:
        import numpy
        import onnxruntime
    except ImportError as e:
        sys.exit(f"{e.name} is not installed for {sys.executable}: pip install onnxruntime numpy")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = o.devices * o.threads_per_device
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(o.model, options, providers=["CPUExecutionProvider"])
    inputs = inputs_of(session, {name: int(size) for name, size in (d.split("=", 1) for d in o.dim)}, numpy)

    def theirs():
        times = []
        for run in range(2 + o.runs):
            start = time.perf_counter()
            session.run(None, inputs)
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times[2:])

    pairs = []
    for turn in range(o.rounds):
        pairs.append((ours(o), theirs()))
        print(f"turn {turn + 1}: opt-partition {pairs[-1][0]:.2f} ms, ONNX Runtime {pairs[-1][1]:.2f} ms", file=sys.stderr)
    a, b = (statistics.median(column) for column in zip(*pairs))
    print(f"opt-partition        {a:9.2f} ms   {o.devices} device(s) × {o.threads_per_device} thread(s)")
    print(f"ONNX Runtime {onnxruntime.__version__:7} {b:9.2f} ms   {options.intra_op_num_threads} thread(s)")
    print(f"ratio of medians     {a / b:9.3f}")
    print(f"median of ratios     {statistics.median(x / y for x, y in pairs):9.3f}")


if __name__ == "__main__":
    main()
