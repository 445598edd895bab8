"""Comparison with arrays that are known to be right: the folder that `opt-partition run` wrote, or NAME.npy for
outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy

from ..errors import OptPartitionError
from .files import file_name

# Of the largest golden number, or of 1 where all are smaller: what check allows of a float32 model and of half
# precision.
TOLERANCES: Mapping[str, float] = {"float32": 1e-5, "float64": 1e-9, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass(frozen=True)
class Difference:
    name: str
    error: float  # the largest difference, of the largest golden number
    index: tuple[int, ...]  # where
    allowed: float

    @property
    def holds(self) -> bool:
        return self.error <= self.allowed

    def to_json(self) -> dict[str, object]:
        return {
            "tensor": self.name,
            "max_relative_error": self.error,
            "index": list(self.index),
            "allowed": self.allowed,
            "holds": self.holds,
        }


def compare(
    name: str,
    found: numpy.ndarray,
    golden: numpy.ndarray,
    allowed: float,
    least: float = 1.0,
    drift: numpy.ndarray | None = None,
) -> Difference:
    """A NaN in golden says that this number does not matter; one in what was found is never right. Of arrays whose
    numbers are small by nature (gradients), `least` is less than 1. `drift` is allowed of each number beyond that."""
    if found.shape != golden.shape:
        raise OptPartitionError(
            "shape differs from golden",
            code="golden/shape",
            exit=1,
            tensor=name,
            expected=golden.shape,
            found=found.shape,
        )
    matters = ~numpy.isnan(golden) if golden.dtype.kind == "f" else numpy.ones(golden.shape, bool)
    if not matters.any():
        return Difference(name, 0.0, (), allowed)
    difference = numpy.abs(found.astype(numpy.float64) - numpy.where(matters, golden, 0))
    difference = numpy.where(matters, numpy.where(numpy.isnan(difference), numpy.inf, difference), 0)
    if drift is None:
        drift = numpy.zeros(())
    index = numpy.unravel_index(int((difference - drift).argmax()), difference.shape)
    largest = max(least, float(numpy.abs(golden[matters].astype(numpy.float64)).max()))
    return Difference(
        name,
        float(difference[index] / largest) if difference[index] else 0.0,
        tuple(int(i) for i in index),
        allowed + float(numpy.broadcast_to(drift, difference.shape)[index] / largest),
    )


def golden_outputs(folder: Path, names: list[str]) -> Iterator[tuple[str, numpy.ndarray]]:
    """The outputs that the folder has; none at all is an error."""
    some = False
    for name in names:
        for file in (folder / f"{name}.npy", folder / f"{file_name(name)}.npy"):
            if file.exists():
                some = True
                yield name, numpy.load(file, allow_pickle=False)
                break
    if not some:
        raise OptPartitionError(
            "no golden output",
            code="missing/golden",
            exit=66,
            file=folder,
            expected=" or ".join(f"{name}.npy" for name in names[:4]),
        )


def golden_training(folder: Path) -> tuple[list[float | None], dict[str, dict[str, numpy.ndarray]]]:
    """Losses and arrays of an index.json; states by "parameter/kind"."""
    file = folder / "index.json"
    if not file.exists():
        raise OptPartitionError(
            "no such file",
            code="missing/golden",
            exit=66,
            file=file,
            hint="a folder that opt-partition run wrote is expected",
        )
    index = json.loads(file.read_text(encoding="utf-8"))
    arrays: dict[str, dict[str, numpy.ndarray]] = {}
    for kind in ("gradients", "parameters", "state"):
        files = index.get(kind, {})
        if kind == "state":
            files = {
                f"{parameter}/{state}": name for parameter, states in files.items() for state, name in states.items()
            }
        arrays[kind] = {name: numpy.load(folder / f, allow_pickle=False) for name, f in files.items()}
    return index["losses"], arrays


def compare_training(
    folder: Path,
    losses: list[float],
    kinds: Mapping[str, Mapping[str, numpy.ndarray]],
    allowed: float,
    drifts: Mapping[str, numpy.ndarray],
) -> list[Difference]:
    """Arrays of a step are small by nature, so they are compared with their own largest number. `drifts` is what
    drift.py says of some."""
    golden_losses, golden = golden_training(folder)
    wanted = numpy.array([numpy.nan if loss is None else loss for loss in golden_losses[: len(losses)]])
    differences = [compare("losses", numpy.array(losses[: len(wanted)]), wanted, allowed)]
    for kind, arrays in golden.items():
        for name, array in arrays.items():
            if name not in kinds[kind]:  # golden may have a tied weight under both names
                continue
            label = f"{kind}/{name}"
            differences.append(compare(label, kinds[kind][name], array, allowed, 1e-3, drifts.get(label)))
    return differences
