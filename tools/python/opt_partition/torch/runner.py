"""One rank of a plan: its weights on its device, and programs for the shapes that it has met."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy
import torch
import torch.distributed as distributed
from torch import Tensor

from ..errors import OptPartitionError
from ..extents import evaluate, is_name
from ..plan import Dims, Entry, Plan
from .attention import recognise_attention
from .collectives import Groups, chunk
from .executable import Captured, Executable, Run, run_interleaved
from .fusions import fuse, reduce_in_place
from .graph import Graph, random_weight, read_graph, read_weight
from .program import Options, Program, Specialiser, narrow

# What is larger lies on the device from the start; smaller initializers are shapes, axes and scales, read on the way.
_HOST_ELEMENTS = 64


@dataclass(frozen=True)
class Settings:
    narrow: bool = False
    random_weights: int | None = None
    ordered: bool | None = None  # None: where there is no NCCL
    fuse: bool = True
    cuda_graphs: bool = True
    interleave: tuple[str, int] | None = None  # a dim, and how many parts of it run at once


def choose_device() -> torch.device:
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def join_world(plan: Plan, device: torch.device) -> int:
    """This process's rank. Without torchrun there is one process, which is enough for a plan of one device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != plan.devices:
        raise OptPartitionError(
            "one process for each device is needed",
            code="usage/processes",
            exit=2,
            file=plan.path / "plan.json",
            expected=plan.devices,
            found=world,
            hint=f"torchrun --nproc-per-node {plan.devices} -m opt_partition.torch …",
        )
    if world == 1:
        return 0
    if not distributed.is_initialized():
        if device.type == "cuda" and not _shared():
            distributed.init_process_group("nccl", device_id=device)
        else:
            distributed.init_process_group("gloo")
    return distributed.get_rank()


def _shared() -> bool:
    """Whether ranks of this host share a GPU, which NCCL refuses."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > torch.cuda.device_count()


def meets_on_device() -> bool:
    """Whether collectives run on the GPU, as NCCL's do. gloo's take tensors of a GPU, too, by way of the host."""
    return distributed.is_initialized() and str(distributed.get_backend()) == "nccl"


@dataclass
class Whole:
    """Whole arrays of a run, the same in all processes, and the dims that follow from them."""

    arrays: dict[str, numpy.ndarray]
    dims: Dims = field(default_factory=dict)


class Runner:
    def __init__(self, plan: Plan, rank: int, device: torch.device, settings: Settings) -> None:
        self.plan = plan
        self.rank = rank
        self.device = device
        self.settings = settings
        self.graph: Graph = read_graph(plan.file(rank))
        ordered = settings.ordered if settings.ordered is not None else not meets_on_device()
        self.groups = Groups(plan.groups, rank, ordered)
        self.weights = {name: self._weight(name) for name in self.graph.weights}
        self.programs: dict[object, Executable] = {}

    def _weight(self, name: str) -> Tensor:
        weight = self.graph.weights[name]
        entry = self.plan.tensors.get(name)
        to_bf16 = self.settings.narrow and weight.dtype == torch.float32 and name in self.plan.parameters
        numbers = read_weight(self.graph, weight)
        if numbers is None:
            if self.settings.random_weights is None:
                raise self.graph.error(
                    "the file of weights is not there",
                    tensor=name,
                    code="missing/weights",
                    exit=66,
                    hint="--random-weights SEED draws some",
                )
            owner = entry.shard(self.rank).ranks[0] if entry else 0
            return random_weight(
                weight, torch.bfloat16 if to_bf16 else weight.dtype, self.settings.random_weights, owner, self.device
            )
        if to_bf16:
            numbers = narrow(numbers)
        return numbers if weight.elements <= _HOST_ELEMENTS else numbers.to(self.device)

    def executable(self, inputs: Mapping[str, Tensor], dims: Dims, fixed: Mapping[str, Tensor]) -> Executable:
        """The program for these shapes. The key is of global shapes, so that all ranks specialise in the same runs."""
        key = (tuple(sorted(dims.items())), tuple((name, tuple(t.shape)) for name, t in sorted(fixed.items())))
        if key not in self.programs:
            meta = {name: tensor.to("meta") for name, tensor in inputs.items()}
            weights = {name: tensor for name, tensor in self.weights.items() if name not in inputs}
            program = Specialiser(self.graph, weights, self.groups, Options(self.device, self.settings.narrow)).run(
                meta, fixed
            )
            improve(program, self.settings)
            self.programs[key] = Executable(program)
        return self.programs[key]

    def steps(self) -> dict[str, int]:
        """How often a run does what: attention and linear count what was fused."""
        ops = [step.op for executable in self.programs.values() for step in executable.program.steps]
        return {op: ops.count(op) for op in sorted(set(ops))}

    # Whole arrays to this rank's tensors, and back.

    def whole(self, arrays: Mapping[str, numpy.ndarray]) -> Whole:
        """Judged as docs/plan-schema.md, sections 4 and 9, say."""
        checked: dict[str, numpy.ndarray] = {}
        for entry in self.plan.inputs:
            if entry.name not in arrays:
                continue
            array = arrays[entry.name]
            wanted = self.graph.dtypes[entry.name]
            if str(array.dtype) != str(wanted).removeprefix("torch."):
                raise OptPartitionError(
                    "dtype of an input",
                    code="bad-input/dtype-mismatch",
                    tensor=entry.name,
                    expected=wanted,
                    found=array.dtype,
                )
            self._check_indices(entry, array)
            checked[entry.name] = array
        return Whole(checked, self.plan.bind({name: array.shape for name, array in checked.items()}))

    def _check_indices(self, entry: Entry, array: numpy.ndarray) -> None:
        if "rows" in entry.more and array.size:
            rows = int(entry.more["rows"])
            if array.min() < -rows or array.max() >= rows:
                raise OptPartitionError(
                    "an index outside the table",
                    code="bad-input/index",
                    tensor=entry.name,
                    expected=f"{-rows} … {rows - 1}",
                    found=f"{array.min()} … {array.max()}",
                )
        if "classes" in entry.more and array.size:
            classes = evaluate(entry.more["classes"], {})
            wrong = (array != -100) & ((array < 0) | (array >= classes))
            if wrong.any():
                raise OptPartitionError(
                    "a label that is no class",
                    code="bad-input/label",
                    tensor=entry.name,
                    expected=f"0 … {classes - 1}, or -100",
                    found=int(array[wrong][0]),
                )

    def local(self, whole: Whole) -> dict[str, Tensor]:
        entries = {entry.name: entry for entry in self.plan.inputs}
        return {
            name: torch.from_numpy(numpy.array(entries[name].local(array, self.rank, whole.dims))).to(self.device)
            for name, array in whole.arrays.items()
        }

    def fixed(self, whole: Whole) -> dict[str, Tensor]:
        """Masks that hide nothing. Most runs have such, and what follows from them (a causal mask, positions) is
        computed once; a run with another mask gets a program of its own."""
        found: dict[str, Tensor] = {}
        if self.plan.job != "inference":
            return found
        entries = {entry.name: entry for entry in self.plan.inputs}
        for name, array in whole.arrays.items():
            is_mask = "rows" not in entries[name].more and array.dtype.kind in "iub" and array.size > 0
            if is_mask and bool((array == 1).all()):
                found[name] = torch.from_numpy(numpy.array(entries[name].local(array, self.rank, whole.dims)))
        return found

    def __call__(self, arrays: Mapping[str, numpy.ndarray]) -> dict[str, Tensor]:
        """This rank's outputs of an inference on whole arrays."""
        return self.prepared(self.whole(arrays))()

    def prepared(self, whole: Whole) -> Callable[[], dict[str, Tensor]]:
        """An inference whose inputs lie on the device and whose shapes are known: as one CUDA graph, where there is
        CUDA. Such a graph's outputs are written over by its next run."""
        self._all_there(whole)
        parts = self._parts(whole)
        run, inputs = self._interleaved(parts) if len(parts) > 1 else self._plain(whole)
        if not self.settings.cuda_graphs or self.device.type != "cuda":
            return lambda: run(inputs)
        captured = Captured(run, inputs)
        return lambda: captured(captured.inputs)

    def _plain(self, whole: Whole) -> tuple[Run, dict[str, Tensor]]:
        inputs = self.local(whole)
        return self.executable(inputs, whole.dims, self.fixed(whole)), inputs

    def _parts(self, whole: Whole) -> list[Whole]:
        """The run cut along a dim, as --interleave says; each part is a run of its own."""
        if self.settings.interleave is None:
            return [whole]
        dim, count = self.settings.interleave
        extent = whole.dims.get(dim, 0)
        if extent < count:
            raise OptPartitionError(
                f"a dim of at least {count} is needed to interleave {count} parts",
                code="usage/interleave",
                exit=2,
                dim=dim,
                found=extent,
            )
        parts = []
        for i in range(count):
            start, size = chunk(extent, count, i)
            arrays = {}
            for entry in self.plan.inputs:
                if entry.name in whole.arrays:
                    axes = [axis for axis, of in enumerate(entry.shape) if is_name(of) == dim]
                    array = whole.arrays[entry.name]
                    arrays[entry.name] = array.take(range(start, start + size), axes[0]) if axes else array
            parts.append(Whole(arrays, {**whole.dims, dim: size}))
        return parts

    def _interleaved(self, parts: list[Whole]) -> tuple[Run, dict[str, Tensor]]:
        dim = self.settings.interleave[0] if self.settings.interleave else ""
        locals_ = [self.local(part) for part in parts]
        executables = [self.executable(inputs, part.dims, self.fixed(part)) for inputs, part in zip(locals_, parts)]
        axes = {
            entry.name: [axis for axis, of in enumerate(entry.shape) if is_name(of) == dim]
            for entry in self.plan.outputs
        }
        for name, found in axes.items():
            if len(found) != 1:
                raise OptPartitionError(
                    "an output that does not have the dim once cannot be joined",
                    code="usage/interleave",
                    exit=2,
                    tensor=name,
                    dim=dim,
                )

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            split = [{name: inputs[f"{i}/{name}"] for name in of} for i, of in enumerate(locals_)]
            outputs = run_interleaved(executables, split)
            return {name: torch.cat([part[name] for part in outputs], axes[name][0]) for name in outputs[0]}

        return run, {f"{i}/{name}": tensor for i, of in enumerate(locals_) for name, tensor in of.items()}

    def _all_there(self, whole: Whole) -> None:
        missing = [name for name in self.graph.inputs if name not in whole.arrays and name not in self.weights]
        if missing:
            raise OptPartitionError(
                "an input is missing",
                code="missing/input",
                exit=66,
                tensor=", ".join(missing),
                hint="--inputs-dir, with NAME.npy for each",
            )

    def join(self, outputs: Mapping[str, Tensor], dims: Dims) -> dict[str, numpy.ndarray]:
        """The whole outputs, at rank 0; elsewhere nothing."""
        entries = [entry for entry in self.plan.outputs if entry.name in outputs]
        mine = {e.name: to_numpy(outputs[e.name]) for e in entries if e.shard(self.rank).ranks[0] == self.rank}
        parts = [mine]
        if self.plan.devices > 1:
            parts = [{}] * self.plan.devices
            distributed.gather_object(mine, parts if self.rank == 0 else None)
        if self.rank != 0:
            return {}
        whole: dict[str, numpy.ndarray] = {}
        for entry in entries:
            dtype = next(part[entry.name].dtype for part in parts if entry.name in part)
            whole[entry.name] = numpy.zeros(entry.global_shape(dims), dtype)
            for rank, part in enumerate(parts):
                if entry.name in part:
                    entry.put(whole[entry.name], part[entry.name], rank, dims)
        return whole


def improve(program: Program, settings: Settings) -> None:
    if settings.fuse:
        recognise_attention(program)
        fuse(program)
    reduce_in_place(program)


def to_numpy(x: Tensor) -> numpy.ndarray:
    """bfloat16 becomes float32, which numpy has."""
    return (x.float() if x.dtype == torch.bfloat16 else x).detach().cpu().numpy()
