#!/usr/bin/env python3
"""A data axis beside PyTorch's DistributedDataParallel: what a second device brings, in turn.

  beside_ddp.py [--program build/release/tools/opt-partition] [--folder DIR] [--rounds 3] [--steps 3]

OPT-125M, Adam, 4×128 tokens a step in all, a thread a device: ours with --mesh data=2, DDP as two processes with gloo.
Needs torch and transformers; makes the model as beside_peers.py does. Prints the times, and the ratio of the two
speed-ups, as a Markdown table.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, SEQUENCE = 4, 128


def ours(program, folder, devices, steps):
    with tempfile.TemporaryDirectory() as scratch:
        command = [program, "bench", folder + "/model.onnx", "--train", "--optimizer", "adam", "--lr", "1e-4", "--mesh", f"data={devices}",
                   "--threads-per-device", "1", "--dim", f"batch={BATCH}", "--dim", f"sequence={SEQUENCE}", "--runs", str(steps),
                   "--warm-up", "1", "--json", scratch + "/bench.json", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        with open(scratch + "/bench.json") as file:
            return json.load(file)["median_ms"]


def environment():
    return dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")


def theirs(folder, devices, steps):
    """A process for each device, this script itself; the first one prints the median."""
    work = [json.dumps(dict(folder=folder, rank=rank, devices=devices, steps=steps)) for rank in range(devices)]
    port = str(20000 + os.getpid() % 20000)
    env = dict(environment(), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    processes = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--rank", w], env=env, stdout=subprocess.PIPE, text=True) for w in work]
    texts = [p.communicate()[0] for p in processes]
    if any(p.returncode for p in processes):
        sys.exit("DDP failed")
    return float(texts[0].split()[-1])


def one_rank(work):
    import torch
    import transformers
    torch.set_num_threads(1)
    model = transformers.OPTForCausalLM.from_pretrained(work["folder"], attn_implementation="sdpa").train()
    if work["devices"] > 1:
        torch.distributed.init_process_group("gloo", rank=work["rank"], world_size=work["devices"])
        model = torch.nn.parallel.DistributedDataParallel(model)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    ids = torch.ones((BATCH // work["devices"], SEQUENCE), dtype=torch.int64)
    took = []
    for _ in range(1 + work["steps"]):
        start = time.perf_counter()
        adam.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        adam.step()
        took.append((time.perf_counter() - start) * 1e3)
    print(statistics.median(took[1:]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/release/tools/opt-partition")
    p.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "opt-125m"), help="where the model is, or is made")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--rank", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.rank:
        return one_rank(json.loads(o.rank))
    if not os.path.exists(o.folder + "/model.onnx"):
        os.makedirs(o.folder, exist_ok=True)
        subprocess.run([sys.executable, HERE + "/engines.py", json.dumps({"kind": "make", "folder": o.folder})], check=True)
    turns = []
    for _ in range(o.rounds):
        turns.append([ours(o.program, o.folder, 1, o.steps), ours(o.program, o.folder, 2, o.steps),
                      theirs(o.folder, 1, o.steps), theirs(o.folder, 2, o.steps)])
        print("turn", *(f"{ms:.0f}" for ms in turns[-1]), file=sys.stderr)
    a, b, c, d = (statistics.median(t) for t in zip(*turns))
    ratio = statistics.median((t[0] / t[1]) / (t[2] / t[3]) for t in turns)
    print("| step, ms | one device | two | one / two |\n| --- | --- | --- | --- |")
    print(f"| ours | {a:.0f} | {b:.0f} | {a / b:.2f} |\n| DDP | {c:.0f} | {d:.0f} | {c / d:.2f} |")
    print(f"\nours / DDP: {ratio:.2f} (median of {o.rounds} turns)")


if __name__ == "__main__":
    main()
