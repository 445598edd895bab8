#!/usr/bin/env python3
"""Times OPT-125M beside released engines, in turn, so that a busy machine slows all of them.

  beside_peers.py [--program build/release/tools/opt-partition] [--folder DIR] [--only 'f32, 1 thread'] [--rounds 3]

Needs torch and transformers (they make the model, with random weights), and compares with those of onnxruntime,
openvino and ctranslate2 that are installed. Each measurement is a process of its own. Prints a table as Markdown: for
each piece of work our median, the best engine's, their ratio, all engines, and as a limit what the products alone take.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile

from engines import ENGINES

HERE = os.path.dirname(os.path.abspath(__file__))


def works():
    """Each: its name, what is done, and on how many devices of ours; peers get as many threads."""
    for devices in (1, 2):
        on = "1 thread" if devices == 1 else f"{devices} devices"
        for dtype in ("f32", "bf16"):
            for batch, sequence in ((1, 128), (8, 128)):
                yield f"forward {batch}×{sequence} {dtype}, {on}", dict(kind="forward", dtype=dtype, batch=batch, sequence=sequence, threads=devices, runs=5)
            yield f"training step 2×128 Adam {dtype}, {on}", dict(kind="train", dtype=dtype, batch=2, sequence=128, threads=devices, runs=3)
            yield f"a token behind 128 {dtype}, {on}", dict(kind="decode", dtype=dtype, batch=1, sequence=128, threads=devices, runs=64)
        yield f"forward 1×2048 f32, {on}", dict(kind="forward", dtype="f32", batch=1, sequence=2048, threads=devices, runs=2)


def ours(program, folder, work):
    with tempfile.TemporaryDirectory() as scratch:
        record = scratch + "/bench.json"
        command = [program, "bench", folder + "/model.onnx", "--devices", str(work["threads"]), "--threads-per-device", "1",
                   "--compute", work["dtype"], "--dim", f"batch={work['batch']}", "--dim", f"sequence={work['sequence']}",
                   "--json", record, "--quiet"]
        if work["kind"] == "decode":
            command += ["--decode", str(work["runs"])]
        else:
            command += ["--runs", str(work["runs"]), "--warm-up", "2"]
        if work["kind"] == "train":
            command += ["--train", "--optimizer", "adam", "--lr", "1e-4"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(work))
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
        with open(record) as file:
            numbers = json.load(file)
        return {"ms": [numbers["median_ms"]], "version": numbers["machine"]["opt-partition"], "peak_bytes": usage.ru_maxrss * 1024, "machine": numbers["machine"]}


def environment(work):
    return dict(os.environ, OMP_NUM_THREADS=str(work["threads"]), OMP_WAIT_POLICY="passive", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")


def theirs(engine, folder, work):
    """None: this engine does not do that, or is not installed."""
    kind = ENGINES[engine]
    if not hasattr(kind, work["kind"]) or work["dtype"] not in kind.dtypes:
        return None
    command = [sys.executable, HERE + "/engines.py", json.dumps(dict(work, engine=engine, folder=folder))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(work))
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["failed"]
        print(f"  {engine}: {last[0]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def mib(b):
    return f"{b / 2**20:.0f} MiB"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/release/tools/opt-partition")
    p.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "opt-125m"), help="where the model is, or is made")
    p.add_argument("--only", action="append", default=[], metavar="TEXT", help="works whose name has this (repeatable)")
    p.add_argument("--rounds", type=int, default=3, help="turns of each engine")
    o = p.parse_args()
    if not os.path.exists(o.folder + "/model.onnx"):
        os.makedirs(o.folder, exist_ok=True)
        subprocess.run([sys.executable, HERE + "/engines.py", json.dumps({"kind": "make", "folder": o.folder})], check=True)
    rows, versions, machine = [], {}, {}
    for name, work in works():
        if o.only and not any(text in name for text in o.only):
            continue
        print(name, file=sys.stderr)
        ms, peaks = {}, {}
        engines = [None] + list(ENGINES)
        for _ in range(o.rounds):
            for engine in list(engines):
                found = theirs(engine, o.folder, work) if engine else ours(o.program, o.folder, work)
                if not found:
                    engines.remove(engine)
                    continue
                ms.setdefault(engine, []).append(statistics.median(found["ms"]))
                peaks[engine] = max(peaks.get(engine, 0), found["peak_bytes"])
                versions[engine or "opt-partition"] = found["version"]
                machine = found.get("machine", machine)
        medians = {engine: statistics.median(times) for engine, times in ms.items()}
        peers = {e: t for e, t in medians.items() if e and e != "products alone"}
        best = min(peers, key=peers.get) if peers else None
        ratio = statistics.median(a / b for a, b in zip(ms[None], ms[best])) if best else None
        limit = medians.get("products alone")
        rows.append(f"| {name} | {medians[None]:.1f} | {f'{best} {peers[best]:.1f}' if best else ''} | {f'{ratio:.2f}' if best else ''} | "
                    f"{f'{limit:.1f}' if limit else ''} | {', '.join(f'{e} {t:.1f}' for e, t in sorted(peers.items(), key=lambda x: x[1]) if e != best)} | "
                    f"{mib(peaks[None])}{f', {best} {mib(peaks[best])}' if best else ''} |")
        print(rows[-1], file=sys.stderr)  # all are minutes' work: what is known is shown
    print(f"{datetime.date.today()}, {machine.get('processor')}, {machine.get('cores')} cores, {machine.get('instruction_set')}; "
          + ", ".join(f"{e} {v}" for e, v in versions.items() if v) + f", oneDNN {machine.get('onednn')}; {o.rounds} turns of each.\n")
    print("| work, ms | ours | best peer | ours / best | products alone | others | peak memory |\n| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
