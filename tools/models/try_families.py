#!/usr/bin/env python3
"""Exports model families at two layers, cuts them, and compares with PyTorch; optimised and converted forms likewise.

  try_families.py FOLDER [--only NAME …] [--exporters legacy,dynamo] [--forms plain,onnxsim,…] [--devices 3]
                  [--program build/release/tools/opt-partition]

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


def attention_for(exporter):
    return "sdpa" if exporter == "dynamo" else "eager"


def export(family, exporter, folder):
    """FOLDER/model.onnx, inputs/*.npy, expected.npy; the number of parameters."""
    model, x, dims = families.make(family, attention_for(exporter))
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
    return {"parameters": sum(p.numel() for p in model.parameters()),
            "learned": sum(p.numel() for p in learned_parameters(model, x).values())}


def learned_parameters(model, x):
    """By name those that the results depend on and that are not frozen, as a table of sines may be."""
    loss = model(*x.values()).square().sum()
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    return {n: p for (n, p), g in zip(learned.items(), gradients) if g is not None}


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


def shares(plan):
    """What of the weights' bytes is cut, and the largest matrix that is left whole with the reason."""
    whole = [p for p in plan["parameters"] if len(p["shape"]) > 1 and "tensor" not in p["sharding"]]
    total = sum(p["bytes"] for p in plan["parameters"] if len(p["shape"]) > 1)
    largest = max(whole, key=lambda p: p["bytes"], default=None)
    return {"cut": 1 - sum(p["bytes"] for p in whole) / max(total, 1),
            "whole": [largest["name"], largest["cause"]["text"]] if largest else None}


def sorted_bytes(array):
    """The same for a tensor however it is transposed or reshaped."""
    return np.sort(np.asarray(array), axis=None).tobytes()


def compare_parameters(plan, model_path, model, x):
    """Where the plan has not as many parameters as PyTorch trains, why:
    `folded`, those that the file does not have, because the exporter computed ahead with them; `buffers`, what the
    older exporter writes as it writes parameters; `counts`, another number than follows from these."""
    learned = {n: p.detach().numpy() for n, p in learned_parameters(model, x).items()}
    total = sum(p.size for p in learned.values())
    if plan["totals"]["parameter_elements"] == total:
        return {}
    file = {t.name: sorted_bytes(onnx.numpy_helper.to_array(t)) for t in onnx.load(model_path).graph.initializer}
    held = set(file.values())
    parameters = {sorted_bytes(p) for p in learned.values()}
    buffers = {sorted_bytes(b.numpy()) for b in model.buffers()}
    row = {}
    folded = {n: p.size for n, p in learned.items() if sorted_bytes(p) not in held}
    if folded:
        row["folded"] = list(folded)
    others = [p for p in plan["parameters"] if file.get(p["name"]) not in parameters]
    if frozen := [p["name"] for p in others if file.get(p["name"]) in buffers]:
        row["buffers"] = frozen
    counted = sum(p["elements"] for p in plan["parameters"]) - sum(p["elements"] for p in others)
    expected = total - sum(folded.values())
    if counted != expected or (not folded and len(frozen) != len(others)):
        more = sum(p["elements"] for p in others)
        row["counts"] = f"{counted} parameters that PyTorch has, which trains {expected}, and {more} more"
    return row


def by_onnxruntime(path, inputs):
    """(its first result, None), or (None, its error) where it can't run the file."""
    import onnxruntime as ort
    ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)[0], None
    except Exception as e:
        return None, (str(e).strip().splitlines() or [type(e).__name__])[0][:160]


def look(program, model_path, folder, inputs_folder, expected, tolerance, model=None, x=None):
    """One file through the program: what came out, and what failed with its first error. Without PyTorch's `model` it
    must compute what ONNX Runtime makes of it: a tool may have changed what the model computes, which the row says."""
    inputs = {f[:-4]: np.load(f"{inputs_folder}/{f}") for f in sorted(os.listdir(inputs_folder))}
    row = {}
    if model is None:
        y, _ = by_onnxruntime(model_path, inputs)
        if y is not None and y.shape == expected.shape:
            changed = np.abs(y - expected).max() / np.abs(expected).max()
            if not changed <= tolerance:
                row["changed"] = f"{changed:.2g}"
            expected = y
    out = folder + "/parts"
    shutil.rmtree(out, ignore_errors=True)
    code, _, error = program.call(model_path, "--devices", str(program.devices), "-o", out, "--quiet")
    if code:
        _, other = by_onnxruntime(model_path, inputs)
        return {"broken": f"ONNX Runtime: {other}; {error}"} if other else {"partition": error}
    with open(out + "/plan.json") as f:
        plan = json.load(f)
    row.update(shares(plan))
    row["elements"] = plan["totals"]["parameter_elements"]
    if model is not None:
        row.update(compare_parameters(plan, model_path, model, x))
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
            row["run"] = f"results differ by {worst:.2g}"
    return row


def train(program, family, attention, model_path, folder, inputs_folder, buffers):
    """check --train, and the losses of three steps of AdamW beside PyTorch's. Buffers are frozen by name."""
    inputs = {f[:-4]: np.load(f"{inputs_folder}/{f}") for f in sorted(os.listdir(inputs_folder))}
    code, _, error = program.call("check", model_path, "--train", "--devices", str(program.devices),
                                  *dims_of(model_path, inputs))
    row = {"train": error or "does not hold"} if code else {}
    model, x, _ = families.make(family, attention)
    ids = x["decoder_input_ids" if "decoder_input_ids" in x else "input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    expected = []
    for _ in range(3):
        optimizer.zero_grad()
        y = model(*x.values())
        loss = torch.nn.functional.cross_entropy(y[:, :-1].reshape(-1, y.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    out, results, labelled = folder + "/steps", folder + "/stepped", folder + "/labelled"
    for d in (out, results, labelled):
        shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(inputs_folder, labelled)
    np.save(labelled + "/labels.npy", ids.numpy())
    code, _, error = program.call(model_path, "--train", "--optimizer", "adamw", "--lr", "0.001", "--weight-decay",
                                  "0.01", "--devices", str(program.devices), "-o", out, "--quiet",
                                  *(flag for name in buffers for flag in ("--freeze", name)))
    if not code:
        code, _, error = program.call("run", out, "--inputs-dir", labelled, "--steps", "3", "-o", results, "--quiet")
    if code:
        return {**row, "steps": error}
    with open(results + "/index.json") as f:
        found = json.load(f)["losses"]
    if not np.allclose(found, expected, rtol=1e-4, atol=0):
        row["steps"] = f"losses {found}, PyTorch's {expected}"
    return row


def keep(path, name, row):
    """Other calls may write, too."""
    results = {}
    if os.path.exists(path):
        with open(path) as f:
            results = json.load(f)
    new = f"{path}.{os.getpid()}"
    with open(new, "w") as f:
        json.dump({**results, name: row, "date": datetime.date.today().isoformat(), "versions": versions()}, f, indent=1)
    os.replace(new, path)


def versions():
    import importlib.metadata as packages
    names = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "onnxslim", "onnxsim",
             "onnxconverter-common", "polygraphy")
    return {n: packages.version(n) for n in names if any(d.name.lower() == n for d in packages.distributions())}


def trace(arguments, program):
    path_of_results = arguments.folder + "/results.json"
    for family in families.FAMILIES:
        if arguments.only and family.name not in arguments.only:
            continue
        for exporter in arguments.exporters.split(","):
            folder, attention = f"{arguments.folder}/{family.name}/{exporter}", attention_for(exporter)
            key = f"{family.name}/{exporter}"
            if not os.path.exists(folder + "/expected.npy"):
                os.makedirs(folder, exist_ok=True)
                try:
                    facts = export(family, exporter, folder)
                    with open(folder + "/facts.json", "w") as f:
                        json.dump(facts, f)
                except Exception as e:  # the exporter's own limits
                    text = (str(e).strip().splitlines() or [type(e).__name__])[0]
                    keep(path_of_results, key, {"export": text[:200]})
                    print(f"{key:40} export: {text[:120]}", flush=True)
                    continue
            with open(folder + "/facts.json") as f:
                facts = json.load(f)
            expected = np.load(folder + "/expected.npy")
            for form in arguments.forms.split(","):
                path, note = forms.make(form, folder)
                name = key if form == "plain" else f"{key}/{form}"
                if path is None:
                    keep(path_of_results, name, {"form": note})
                    print(f"{name:40} form: {note[:120]}", flush=True)
                    continue
                model, x, _ = families.make(family, attention) if form == "plain" else (None, None, None)
                row = look(program, path, folder, folder + "/inputs", expected, 2e-2 if "16" in form else 1e-4, model, x)
                if form == "plain" and "error" in row and family.output == "logits" and not arguments.no_train:
                    row.update(train(program, family, attention, path, folder, folder + "/inputs",
                                     row.get("buffers", [])))
                if "folded" in row:  # other parameters take other steps
                    row.pop("steps", None)
                row["facts"] = facts
                keep(path_of_results, name, row)
                bad = {k: v for k, v in row.items() if k in ("broken", "partition", "check", "run", "counts", "train", "steps", "folded", "buffers")}
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
    os.makedirs(arguments.folder, exist_ok=True)
    trace(arguments, Program(arguments.program, arguments.devices))


if __name__ == "__main__":
    sys.exit(main())
