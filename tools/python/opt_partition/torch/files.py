"""Arrays in folders, as `opt-partition run` reads and writes them: NAME.npy, NAME.pb, and index.json of a training
run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import onnx
from onnx import numpy_helper

from ..errors import OptPartitionError
from ..plan import Entry, Plan


def read_inputs(folder: Path, plan: Plan) -> dict[str, numpy.ndarray]:
    """Each input of the plan that the folder has; also input_0.pb …, in the plan's order, as ONNX's own test data
    have them."""
    if not folder.is_dir():
        raise OptPartitionError("no such folder", code="not-found/file", exit=66, file=folder)
    found: dict[str, numpy.ndarray] = {}
    data = [entry for entry in plan.inputs if entry.role in ("data", "labels")]
    for i, entry in enumerate(data):
        for file in (folder / f"{entry.name}.npy", folder / f"{entry.name}.pb", folder / f"input_{i}.pb"):
            if file.exists():
                found[entry.name] = _read(file)
                break
    return found


def _read(file: Path) -> numpy.ndarray:
    try:
        if file.suffix == ".npy":
            array: numpy.ndarray = numpy.load(file, allow_pickle=False)
            return array
        tensor = onnx.TensorProto()
        tensor.ParseFromString(file.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception as error:  # numpy and protobuf have many classes for what is malformed
        raise OptPartitionError(f"malformed: {error}", code="bad-input/file", file=file) from None


def made_up_inputs(
    plan: Plan, dims: Mapping[str, int], seed: int, given: Mapping[str, numpy.ndarray]
) -> dict[str, numpy.ndarray]:
    """Inputs for timing, of the dims' values: ids at random, masks of ones, all else normally distributed."""
    generator = numpy.random.default_rng(seed)
    made: dict[str, numpy.ndarray] = dict(given)
    for entry in plan.inputs:
        if entry.name in made or entry.role not in ("data", "labels"):
            continue
        try:
            shape = entry.global_shape(dict(dims))
        except KeyError as unknown:
            raise OptPartitionError(
                "an open dim",
                code="missing/dim",
                exit=2,
                tensor=entry.name,
                dim=unknown.args[0],
                hint=f"--dim {unknown.args[0]}=NUMBER, or --inputs-dir",
            ) from None
        made[entry.name] = _made_up(entry, shape, generator)
    return made


def _made_up(entry: Entry, shape: tuple[int, ...], generator: numpy.random.Generator) -> numpy.ndarray:
    dtype = numpy.dtype(entry.dtype if entry.dtype != "bfloat16" else "float32")
    bound = entry.more.get("rows", entry.more.get("classes"))
    if bound is not None:
        return generator.integers(0, int(bound), shape).astype(dtype)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return numpy.ones(shape, dtype)


def file_name(name: str) -> str:
    """A tensor's name as a file's."""
    return re.sub(r"[^\w.+-]", "_", name)


def write_outputs(folder: Path, arrays: Mapping[str, numpy.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        numpy.save(folder / f"{file_name(name)}.npy", array)


def write_training(folder: Path, losses: Sequence[float], kinds: Mapping[str, Mapping[str, numpy.ndarray]]) -> None:
    """index.json names a file for each array. `kinds`: gradients and parameters by parameter, states by
    "parameter/kind"."""
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, object] = {"losses": [loss if numpy.isfinite(loss) else None for loss in losses]}
    count = 0
    for kind, arrays in kinds.items():
        files: dict[str, object] = {}
        for name, array in arrays.items():
            file = f"{count}-{file_name(name)}.npy"
            count += 1
            numpy.save(folder / file, array)
            parameter, _, state = name.rpartition("/") if kind == "state" else ("", "", "")
            if kind == "state":
                files.setdefault(parameter, {})[state] = file  # type: ignore[index]
            else:
                files[name] = file
        index[kind] = files
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
