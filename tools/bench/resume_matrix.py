#!/usr/bin/env python3
"""Checkpoints between layouts, written and read by threads and by processes: are they the same, element for element?

  tools/bench/resume_matrix.py PROGRAM MODEL.onnx

From each layout, as threads and under mpirun, to three others drawn at random: the checkpoint that was resharded there
and back to one device has the bytes of one resharded at once; a run that resumes there ends with the bytes of one that
resumes the resharded checkpoint; its losses are told beside those of the run that nobody interrupted.
"""
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

LAYOUTS = {"tensor=1": 1, "tensor=2": 2, "tensor=3": 3, "tensor=8": 8, "data=2,tensor=2": 4, "data=2": 2,
           "data=2 --zero 1": 2, "data=2 --zero 2": 2, "data=2 --zero 3": 2}
MOST_PROCESSES = 4  # a process then holds several ranks
STEPS, MORE_STEPS = "5", "9"


def run(program, words, layout=None, processes=False):
    """Whether it ended well; what it said is printed if not."""
    ranks = min(LAYOUTS.get(layout, 1), MOST_PROCESSES)
    launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if processes and ranks > 1 else []
    mesh = f"--mesh {layout}".split() if layout else []
    result = subprocess.run([*launch, program, *words, *mesh, "--quiet"], capture_output=True, text=True)
    if result.returncode != 0:
        print(" ".join(words), layout, result.stderr.strip()[:500])
    return result.returncode == 0


def tensors(folder):
    """Of all that is no JSON, which tells times and places."""
    digest = hashlib.sha256()
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            if not name.endswith(".json"):
                with open(os.path.join(root, name), "rb") as file:
                    digest.update(name.encode() + file.read())
    return digest.hexdigest()


def losses(folder):
    for name in os.listdir(folder):
        if name.endswith(".json"):
            with open(os.path.join(folder, name)) as file:
                if found := json.load(file).get("losses"):
                    return found
    return []


def difference(before, after):
    if not before or len(before) != len(after):
        return float("inf")
    return max(abs(a - b) / abs(a) for a, b in zip(before, after))


def main():
    program, model = map(os.path.abspath, sys.argv[1:3])
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    draw = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("tokens.bin", "wb") as file:
            file.write(struct.pack("<2000H", *(draw.randrange(90) for _ in range(2000))))
        train = ["train", model, "--optimizer", "adamw", "--lr", "0.003", "--max-grad-norm", "1", "--data", "tokens.bin",
                 "--batch", "4", "--sequence", "8", "--epochs", "50"]
        good, tried, largest = 0, 0, 0.0
        for source in LAYOUTS:
            for by_processes in [False, True] if LAYOUTS[source] > 1 else [False]:
                begun = (run(program, [*train, "--max-steps", STEPS, "--save", "source", "--overwrite"], source, by_processes)
                         and run(program, [*train, "--max-steps", MORE_STEPS, "--save", "undisturbed", "--overwrite"], source,
                                 by_processes)
                         and run(program, ["reshard", "source", "-o", "whole", "--overwrite"], "tensor=1"))
                others = [(layout, p) for layout in LAYOUTS if layout != source for p in (False, True)]
                for layout, processes in draw.sample(others, 3):
                    tried += 1
                    resume = ["train", model, "--max-steps", MORE_STEPS, "--overwrite"]
                    if not (begun and run(program, ["reshard", "source", "-o", "there", "--overwrite"], layout, processes)
                            and run(program, ["reshard", "there", "-o", "back", "--overwrite"], "tensor=1")
                            and run(program, [*resume, "--resume", "source", "--save", "direct"], layout, processes)
                            and run(program, [*resume, "--resume", "there", "--save", "by_way"], layout, processes)):
                        continue
                    off = difference(losses("undisturbed"), losses("direct"))
                    same = tensors("back") == tensors("whole") and tensors("direct") == tensors("by_way")
                    largest = max(largest, off)
                    good += same
                    print(f"{source} {'processes' if by_processes else 'threads'} -> {layout} "
                          f"{'processes' if processes else 'threads'}: {'same' if same else 'DIFFERENT'}, losses {off:.1e}")
    print(f"{good} of {tried} the same, losses within {largest:.1e}")
    return good != tried


if __name__ == "__main__":
    sys.exit(main())
