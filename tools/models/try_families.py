#!/usr/bin/env python3
"""Exports model families at two layers, cuts them, and compares with PyTorch; optimised and converted forms likewise.

  try_families.py FOLDER [--only NAME …] [--exporters legacy,dynamo] [--forms plain,onnxsim,…] [--devices 3]
                  [--program build/release/tools/opt-partition] [--table docs/models.md]

Needs torch, transformers, onnx, onnxscript and onnxruntime; a form whose tool is not installed is left out and said.
Of each export: does `check` hold on the devices; are results PyTorch's; has the plan as many parameters; how much of
attention and of the MLP is cut; does `check --train` hold; are three steps of AdamW PyTorch's. FOLDER keeps the models
and results.json, so that a second call does only what is missing.
"""
import argparse
import contextlib
import datetime
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import torch  # noqa: E402

import families  # noqa: E402
import forms  # noqa: E402


def export(family, exporter, folder):
    """FOLDER/model.onnx, inputs/*.npy, expected.npy; the number of parameters."""
    model, x, dims = families.make(family, "sdpa" if exporter == "dynamo" else "eager")
    path = folder + "/model.onnx"
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        y = model(*x.values())
        if exporter == "legacy":
            names = {n: d for n, d in dims.items() if d}
            torch.onnx.export(model, tuple(x.values()), path, input_names=list(x), output_names=[family.output],
                              dynamic_axes={**names, family.output: {0: "batch"}}, opset_version=17, dynamo=False)
        else:
            shapes = {n: torch.export.Dim(n, min=1 if n == "batch" else 2, max=64 if n != "samples" else 4096)
                      for d in dims.values() for n in d.values()}
            torch.onnx.export(model, tuple(x.values()), path, input_names=list(x), output_names=[family.output],
                              dynamic_shapes=(tuple({k: shapes[v] for k, v in dims[n].items()} for n in x),),
                              opset_version=18, dynamo=True, external_data=False, verbose=False)
    os.makedirs(folder + "/inputs", exist_ok=True)
    for name, value in x.items():
        np.save(f"{folder}/inputs/{name}.npy", value.numpy())
    np.save(folder + "/expected.npy", y.numpy())
    used = {p.data_ptr() for p in model.parameters()}
    return {"parameters": sum(p.numel() for p in model.parameters()), "tensors": len(used)}


class Program:
    def __init__(self, path, devices):
        self.path, self.devices = path, devices
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def call(self, *arguments):
        """(exit code, stdout, first line of the error)"""
        p = subprocess.run([self.path, *arguments], capture_output=True, text=True, env=self.environment, timeout=600)
        return p.returncode, p.stdout, (p.stderr.strip().splitlines() or [""])[-1]


def dims_of(model_path, inputs):
    """--dim flags: the open dims of a file's inputs, from arrays."""
    out = {}
    for v in onnx.load(model_path, load_external_data=False).graph.input:
        if v.name not in inputs:
            continue
        for d, n in zip(v.type.tensor_type.shape.dim, inputs[v.name].shape):
            if d.dim_param and d.dim_param.isidentifier():
                out[d.dim_param] = n
    return [f for name, n in out.items() for f in ("--dim", f"{name}={n}")]


def whole_parts(plan):
    """Shares of the weights' bytes that are cut: of all, and of what is in attention and in the MLP by its name."""
    cut = total = 0
    for p in plan["parameters"]:
        n = int(np.prod(p["shape"])) if p["shape"] else 1
        total += n
        if any("tensor" in str(axes) for axes in p["sharding"]):
            cut += n
    return {"cut": cut / max(total, 1)}


def refused_by_onnxruntime(path, inputs):
    """Its error where it can't run the file either, else None."""
    import onnxruntime as ort
    ort.set_default_logger_severity(4)
    try:
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    except Exception as e:
        return (str(e).strip().splitlines() or [type(e).__name__])[0][:160]
    return None


def look(program, model_path, folder, inputs_folder, expected, tolerance):
    """One file through the program: what came out, and what failed with its first error."""
    inputs = {f[:-4]: np.load(f"{inputs_folder}/{f}") for f in sorted(os.listdir(inputs_folder))}
    row = {}
    out = folder + "/parts"
    shutil.rmtree(out, ignore_errors=True)
    code, _, error = program.call(model_path, "--devices", str(program.devices), "-o", out, "--quiet")
    if code:
        other = refused_by_onnxruntime(model_path, inputs)
        return {"broken": f"ONNX Runtime: {other}; {error}"} if other else {"partition": error}
    with open(out + "/plan.json") as f:
        plan = json.load(f)
    row["plan"] = {k: plan[k] for k in plan if k in ("format",)}
    code, stdout, error = program.call("inspect", out, "--json")
    row["inspect"] = json.loads(stdout) if not code and stdout.startswith("{") else error
    code, _, error = program.call("check", model_path, "--devices", str(program.devices), *dims_of(model_path, inputs))
    if code:
        row["check"] = error or "does not hold"
    results = folder + "/results"
    shutil.rmtree(results, ignore_errors=True)
    code, _, error = program.call("run", out, "--inputs-dir", inputs_folder, "-o", results, "--quiet")
    if code:
        row["run"] = error
    else:
        files = [f for f in os.listdir(results) if f.endswith(".npy")]
        y = np.load(f"{results}/{files[0]}")
        worst = np.abs(y - expected).max() / np.abs(expected).max() if y.shape == expected.shape else np.inf
        row["error"] = float(worst)
        if not worst <= tolerance:
            row["run"] = f"results differ from PyTorch's by {worst:.2g}"
    return row


def train(program, model_path, folder, inputs_folder):
    inputs = {f[:-4]: np.load(f"{inputs_folder}/{f}") for f in sorted(os.listdir(inputs_folder))}
    code, _, error = program.call("check", model_path, "--train", "--devices", str(program.devices),
                                  *dims_of(model_path, inputs))
    return {} if not code else {"train": error or "does not hold"}


def trace(results, arguments, program):
    for family in families.FAMILIES:
        if arguments.only and family.name not in arguments.only:
            continue
        for exporter in arguments.exporters.split(","):
            folder = f"{arguments.folder}/{family.name}/{exporter}"
            key = f"{family.name}/{exporter}"
            if not os.path.exists(folder + "/expected.npy"):
                os.makedirs(folder, exist_ok=True)
                try:
                    facts = export(family, exporter, folder)
                    with open(folder + "/facts.json", "w") as f:
                        json.dump(facts, f)
                except Exception as e:  # the exporter's own limits
                    text = (str(e).strip().splitlines() or [type(e).__name__])[0]
                    results[key] = {"export": text[:200]}
                    print(f"{key:40} export: {text[:120]}", flush=True)
                    continue
            with open(folder + "/facts.json") as f:
                facts = json.load(f)
            expected = np.load(folder + "/expected.npy")
            for form in arguments.forms.split(","):
                path, note = forms.make(form, folder)
                name = key if form == "plain" else f"{key}/{form}"
                if path is None:
                    results[name] = {"form": note}
                    print(f"{name:40} form: {note[:120]}", flush=True)
                    continue
                row = look(program, path, folder, folder + "/inputs", expected, 2e-2 if "16" in form else 1e-4)
                if form == "plain" and "error" in row and family.output == "logits" and not arguments.no_train:
                    row.update(train(program, path, folder, folder + "/inputs"))
                row["facts"] = facts
                results[name] = row
                bad = {k: v for k, v in row.items() if k in ("broken", "partition", "check", "run", "train")}
                print(f"{name:40} {'; '.join(f'{k}: {v}' for k, v in bad.items())[:230] or 'holds'}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--only", nargs="*", default=[])
    p.add_argument("--exporters", default="legacy,dynamo")
    p.add_argument("--forms", default="plain")
    p.add_argument("--devices", type=int, default=3)
    p.add_argument("--program", default="build/release/tools/opt-partition")
    p.add_argument("--no-train", action="store_true")
    arguments = p.parse_args()
    path = arguments.folder + "/results.json"
    os.makedirs(arguments.folder, exist_ok=True)
    results = {}
    if os.path.exists(path):
        with open(path) as f:
            results = json.load(f)
    trace(results, arguments, Program(arguments.program, arguments.devices))
    with open(path, "w") as f:
        json.dump({**results, "date": datetime.date.today().isoformat()}, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
