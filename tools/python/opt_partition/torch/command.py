"""The command line of `python -m opt_partition.torch`: one process a rank, started by torchrun."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed as distributed

from ..errors import OptPartitionError
from ..plan import Plan, read_plan
from .drift import Drift
from .files import made_up_inputs, read_inputs, write_outputs, write_training
from .golden import TOLERANCES, Difference, compare, compare_training, golden_outputs
from .runner import Runner, Settings, choose_device, join_world, meets_on_device
from .timing import measure
from .training import Training


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        "python -m opt_partition.torch",
        description="Run the rank graphs that opt-partition wrote, on PyTorch: torchrun --nproc-per-node N "
        "-m opt_partition.torch DIR. GPUs meet through NCCL, CPUs through gloo.",
    )
    out.add_argument("plan", type=Path, help="folder written by opt-partition")
    out.add_argument(
        "--inputs-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="NAME.npy or NAME.pb for every input (training: repeatable, taken in turn)",
    )
    out.add_argument(
        "--dim",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="make up inputs of this size where there are none",
    )
    out.add_argument("-o", "--output", type=Path, metavar="DIR", help="write the whole outputs to this folder")
    out.add_argument(
        "--golden",
        type=Path,
        metavar="DIR",
        help="compare with the outputs in this folder; exit code 1 where they differ",
    )
    out.add_argument(
        "--tolerance", type=float, help="largest difference allowed, of the largest golden number (1e-5; bf16 0.03)"
    )
    out.add_argument(
        "--compute", choices=["f32", "bf16"], default="f32", help="bf16: weights, and what comes of them, in bfloat16"
    )
    out.add_argument(
        "--random-weights", type=int, metavar="SEED", help="draw weights whose file is missing, on the device"
    )
    out.add_argument("--time", type=int, metavar="N", help="time N runs; JSON on stdout")
    out.add_argument("--steps", type=int, default=1, help="training: number of steps")
    out.add_argument("--lr", type=float, help="training: a learning rate other than the plan's")
    out.add_argument(
        "--ordered",
        action="store_true",
        help="add partial sums in the order of ranks on GPUs, too, to the same bits on any number of them",
    )
    out.add_argument(
        "--interleave",
        metavar="NAME=NUMBER",
        help="run so many parts of this dim (batch=2) at once: one computes while "
        "another waits for a collective. "
        "The model must treat indices of the dim apart from each other",
    )
    out.add_argument("--no-fusion", action="store_true", help="run every node as it stands in the graph")
    out.add_argument("--no-cuda-graphs", action="store_true", help="launch each operator from Python")
    out.add_argument("--diagnostics", choices=["text", "json"], default="text", help="form of errors on stderr")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except OptPartitionError as error:
        line = error.to_json() if options.diagnostics == "json" else f"opt_partition.torch: error: {error}"
        # In one write, so that lines of several ranks stay apart.
        os.write(sys.stderr.fileno(), (line + "\n").encode())
        return error.exit
    finally:
        if distributed.is_initialized() and sys.exc_info()[0] is None:
            gc.collect()  # CUDA graphs go before the connections that they hold
            distributed.destroy_process_group()


def _run(options: argparse.Namespace) -> int:
    plan = read_plan(options.plan)
    device = choose_device()
    rank = join_world(plan, device)
    if options.compute == "bf16" and plan.job == "training":
        raise OptPartitionError(
            "--compute bf16 is for inference",
            code="usage/compute",
            exit=2,
            hint="opt-partition MODEL --train --compute bf16 writes a step that computes in bfloat16",
        )
    settings = Settings(
        options.compute == "bf16",
        options.random_weights,
        True if options.ordered else None,
        not options.no_fusion,
        not options.no_cuda_graphs and device.type == "cuda" and (plan.devices == 1 or meets_on_device()),
        _interleave(options),
    )
    runner = Runner(plan, rank, device, settings)
    report: dict[str, Any] = {"plan": str(options.plan), "ranks": plan.devices, "compute": options.compute}
    differences = (
        _train(options, plan, runner, report) if plan.job == "training" else _infer(options, plan, runner, report)
    )
    failed = [difference for difference in differences if not difference.holds]
    if options.golden is not None:
        report["golden"] = {"holds": not failed, "tensors": len(differences)}
        worst = max(differences, key=lambda d: d.error / d.allowed, default=None)
        if worst is not None:
            report["golden"]["worst"] = worst.to_json()
    if rank == 0 and (options.time or options.golden):
        print(json.dumps(report), flush=True)
    for difference in failed if rank == 0 else []:
        print(
            f"opt_partition.torch: '{difference.name}' differs from golden: {difference.error:.3g} of the largest "
            f"at {list(difference.index)}, "
            f"{difference.allowed:.3g} is allowed",
            file=sys.stderr,
        )
    return _agree(bool(failed), plan, device)


def _agree(failed: bool, plan: Plan, device: torch.device) -> int:
    """One exit code of all ranks: torchrun shows the first that is not 0."""
    if plan.devices == 1:
        return int(failed)
    verdicts: list[Any] = [None] * plan.devices
    distributed.all_gather_object(verdicts, failed)
    return int(any(verdicts))


def _numbers(texts: Sequence[str], flag: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not number.isdecimal():
            raise OptPartitionError(f"{flag} {text}: NAME=NUMBER is expected", code="usage/number", exit=2)
        numbers[name] = int(number)
    return numbers


def _interleave(options: argparse.Namespace) -> tuple[str, int] | None:
    if options.interleave is None:
        return None
    ((name, number),) = _numbers([options.interleave], "--interleave").items()
    return name, number


def _arrays(options: argparse.Namespace, plan: Plan) -> list[dict[str, numpy.ndarray]]:
    folders = [read_inputs(folder, plan) for folder in options.inputs_dir] or [{}]
    return [
        made_up_inputs(plan, _numbers(options.dim, "--dim"), 1 + i, arrays) if options.dim else arrays
        for i, arrays in enumerate(folders)
    ]


def _tolerance(options: argparse.Namespace, plan: Plan) -> float:
    if options.tolerance is not None:
        return float(options.tolerance)
    dtypes = {str(entry["dtype"]) for entry in plan.json["parameters"]}
    return max(
        [
            TOLERANCES["bfloat16" if options.compute == "bf16" else "float32"],
            *(TOLERANCES.get(dtype, 0.0) for dtype in dtypes),
        ]
    )


def _infer(options: argparse.Namespace, plan: Plan, runner: Runner, report: dict[str, Any]) -> list[Difference]:
    if len(options.inputs_dir) > 1:
        raise OptPartitionError("an inference takes one folder of inputs", code="usage/inputs", exit=2)
    arrays = _arrays(options, plan)[0]
    whole = runner.whole(arrays)
    run = runner.prepared(whole)
    outputs = run()
    differences: list[Difference] = []
    if options.golden is not None or options.output is not None:
        joined = runner.join(outputs, whole.dims)
        if runner.rank == 0 and options.output is not None:
            write_outputs(options.output, joined)
        if runner.rank == 0 and options.golden is not None:
            names = [entry.name for entry in plan.outputs]
            differences = [
                compare(name, joined[name], golden, _tolerance(options, plan))
                for name, golden in golden_outputs(options.golden, names)
            ]
    del outputs
    if options.time:
        report["dims"] = whole.dims
        report["steps"] = runner.steps()
        report["cuda_graph"] = runner.settings.cuda_graphs
        report.update(measure(run, options.time, runner.device, plan.devices))
    return differences


def _train(options: argparse.Namespace, plan: Plan, runner: Runner, report: dict[str, Any]) -> list[Difference]:
    training = Training(runner, options.lr)
    batches = _arrays(options, plan)
    at = 0

    def step() -> float:
        nonlocal at
        taken = [batches[(at + i) % len(batches)] for i in range(training.micro_batches)]
        at += training.micro_batches
        return training.step(taken)

    allowed = options.tolerance if options.tolerance is not None else TOLERANCES["float32"]
    drift = Drift(training, allowed)
    losses: list[float] = []
    for _ in range(options.steps):
        losses.append(step())
        if options.golden is not None:
            drift.follow(training.outputs)
    report["losses"] = losses
    differences: list[Difference] = []
    if options.golden is not None or options.output is not None:
        kinds = training.arrays()
        if runner.rank == 0 and options.output is not None:
            write_training(options.output, losses, kinds)
        if runner.rank == 0 and options.golden is not None:
            differences = compare_training(options.golden, losses, kinds, allowed, drift.of)
    if options.time:
        report.update(measure(step, options.time, runner.device, plan.devices))
    return differences
