"""What tests share: small graphs, specialised and run on the CPU, and the program's own outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from opt_partition.torch.collectives import Groups
from opt_partition.torch.executable import Executable
from opt_partition.torch.graph import Graph, read_graph, read_weight
from opt_partition.torch.program import Options, Program, Specialiser
from opt_partition.torch.runner import Settings, improve

SOURCE = Path(os.environ.get("OPTP_SOURCE", Path(__file__).resolve().parents[2]))
PROGRAM = os.environ.get("OPTP_PROGRAM", str(SOURCE / "build/release/tools/opt-partition"))
CPU = torch.device("cpu")


def opt_partition(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def must(*arguments: object) -> str:
    done = opt_partition(*arguments)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def run_ranks(ranks: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m opt_partition.torch` on so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE / "tools/python"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, *launcher, "-m", "opt_partition.torch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, numpy.ndarray], outputs: list[str], weights: dict[str, numpy.ndarray]
) -> onnx.ModelProto:
    """A model as opt-partition writes them: opset 17 and the four collectives."""
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("opt_partition", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def specialise(
    text: onnx.ModelProto, folder: Path, inputs: dict[str, numpy.ndarray], narrow: bool = False, fuse: bool = True
) -> Program:
    file = folder / "model.onnx"
    onnx.save(text, str(file))
    graph: Graph = read_graph(file)
    weights = {name: read_weight(graph, weight) for name, weight in graph.weights.items()}
    meta = {name: torch.from_numpy(array).to("meta") for name, array in inputs.items()}
    groups = Groups([], 0, ordered=True)
    program = Specialiser(graph, {n: w for n, w in weights.items() if w is not None}, groups, Options(CPU, narrow)).run(
        meta, {}
    )
    improve(program, Settings(fuse=fuse))
    return program


def run(program: Program, inputs: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    outputs = Executable(program)({name: torch.from_numpy(array) for name, array in inputs.items()})
    return {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in outputs.items()}


def ops(program: Program) -> list[str]:
    return [step.op for step in program.steps]
