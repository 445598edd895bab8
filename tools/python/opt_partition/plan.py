"""plan.json: how inputs are cut, outputs put together, and which ranks meet (docs/plan-schema.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from .errors import OptPartitionError
from .extents import Extent, evaluate, is_name

Dims = dict[str, int]


@dataclass(frozen=True)
class Shard:
    """What some ranks hold of a tensor."""

    ranks: tuple[int, ...]
    shape: tuple[Extent, ...]
    ranges: tuple[tuple[tuple[Extent, ...], ...], ...]

    def local_shape(self, dims: Dims) -> tuple[int, ...]:
        return tuple(evaluate(extent, dims) for extent in self.shape)

    def indices(self, dims: Dims) -> list[numpy.ndarray]:
        return [_indices(intervals, dims) for intervals in self.ranges]


@dataclass(frozen=True)
class Entry:
    """An input, output, parameter or constant of the rank graphs."""

    name: str
    dtype: str
    role: str
    shape: tuple[Extent, ...]
    shards: tuple[Shard, ...]
    more: Mapping[str, Any]

    def shard(self, rank: int) -> Shard:
        return next(shard for shard in self.shards if rank in shard.ranks)

    def global_shape(self, dims: Dims) -> tuple[int, ...]:
        return tuple(evaluate(extent, dims) for extent in self.shape)

    def local(self, whole: numpy.ndarray, rank: int, dims: Dims) -> numpy.ndarray:
        """A rank's part of a whole array."""
        indices = self.shard(rank).indices(dims)
        return numpy.ascontiguousarray(whole[numpy.ix_(*indices)]) if indices else whole

    def put(self, whole: numpy.ndarray, part: numpy.ndarray, rank: int, dims: Dims) -> None:
        """A rank's part, into the whole array."""
        indices = self.shard(rank).indices(dims)
        if indices:
            whole[numpy.ix_(*indices)] = part
        else:
            whole[()] = part


def _indices(intervals: Sequence[Sequence[Extent]], dims: Dims) -> numpy.ndarray:
    parts: list[numpy.ndarray] = []
    for start, stop, *repeats in intervals:
        offsets = numpy.zeros(1, dtype=numpy.int64)
        for count, stride in zip(repeats[::2], repeats[1::2]):
            steps = numpy.arange(evaluate(count, dims)) * evaluate(stride, dims)
            offsets = (offsets[:, None] + steps).reshape(-1)
        inner = numpy.arange(evaluate(start, dims), evaluate(stop, dims))
        parts.append((offsets[:, None] + inner).reshape(-1))
    return numpy.concatenate(parts)


class Plan:
    """The parts of plan.json that running needs."""

    def __init__(self, folder: Path, text: Mapping[str, Any]) -> None:
        self.folder = folder
        self.json = text
        self.devices = int(text["mesh"]["devices"])
        self.job = str(text["job"])
        self.layouts = [
            tuple(
                Shard(tuple(s["ranks"]), tuple(s["shape"]), tuple(tuple(map(tuple, dim)) for dim in s["ranges"]))
                for s in layout["shards"]
            )
            for layout in text["layouts"]
        ]
        self.inputs = [self._entry(entry) for entry in text["inputs"]]
        self.outputs = [self._entry(entry) for entry in text["outputs"]]
        self.tensors = {
            entry["name"]: self._entry({"role": "weight", **entry})
            for entry in [*text["parameters"], *text["constants"]]
        }
        self.parameters = {entry["name"] for entry in text["parameters"]}
        self.updates = [(pair["input"], pair["output"]) for pair in text["updates"]]
        self.groups = sorted({tuple(group) for meeting in text["collectives"] for group in meeting["groups"]})

    def _entry(self, entry: Mapping[str, Any]) -> Entry:
        return Entry(
            entry["name"], entry["dtype"], entry["role"], tuple(entry["shape"]), self.layouts[entry["layout"]], entry
        )

    def file(self, rank: int) -> Path:
        return self.folder / str(next(device["file"] for device in self.json["devices"] if device["rank"] == rank))

    def bind(self, shapes: Mapping[str, Sequence[int]]) -> Dims:
        """The dims' values, from the global shapes of inputs."""
        dims: Dims = {}
        open_extents: list[tuple[str, Extent, int]] = []
        for entry in self.inputs:
            if entry.name not in shapes:
                continue
            shape = shapes[entry.name]
            if len(shape) != len(entry.shape):
                raise self._mismatch(entry.name, f"{len(entry.shape)} dims", f"{len(shape)}")
            for extent, found in zip(entry.shape, shape):
                name = is_name(extent)
                if name is not None and dims.setdefault(name, int(found)) != found:
                    raise self._mismatch(entry.name, f"{name} = {dims[name]}, as another input has it", f"{found}")
                if name is None:
                    open_extents.append((entry.name, extent, int(found)))
        for tensor, extent, found in open_extents:
            self._solve(tensor, extent, found, dims)
        self._check(dims)
        return dims

    def _solve(self, tensor: str, extent: Extent, found: int, dims: Dims) -> None:
        try:
            value = evaluate(extent, dims)
        except KeyError as unknown:
            # An expression with one unknown name, linear in it as all that exporters write: past + sequence.
            name = str(unknown.args[0])
            at_zero, at_one = (evaluate(extent, {**dims, name: n}) for n in (0, 1))
            if at_one == at_zero or (found - at_zero) % (at_one - at_zero):
                raise self._mismatch(tensor, str(extent), str(found)) from None
            dims[name] = (found - at_zero) // (at_one - at_zero)
            value = evaluate(extent, dims)
        if value != found:
            raise self._mismatch(tensor, f"{extent} = {value}" if isinstance(extent, str) else str(extent), str(found))

    def _check(self, dims: Dims) -> None:
        for name, dim in self.json["dims"].items():
            if name in dims and dims[name] < dim["min"]:
                raise self._error(
                    f"dim '{name}' is below what the plan holds for",
                    expected=f"at least {dim['min']}",
                    found=dims[name],
                )
        for guard in self.json["guards"]:
            try:
                left, right = evaluate(guard["left"], dims), evaluate(guard["right"], dims)
            except KeyError:
                continue
            if left != right:
                raise self._error(
                    f"the model needs {guard['left']} to equal {guard['right']} ({guard['because']})",
                    expected=left,
                    found=right,
                )

    def _mismatch(self, tensor: str, expected: str, found: str) -> OptPartitionError:
        return self._error("shape", tensor=tensor, expected=expected, found=found)

    def _error(self, message: str, **parts: Any) -> OptPartitionError:
        return OptPartitionError(message, code="bad-input/shape-mismatch", file=self.folder / "plan.json", **parts)


def read_plan(folder: str | Path) -> Plan:
    folder = Path(folder)
    file = folder / "plan.json"
    try:
        text = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptPartitionError(
            "no such file",
            code="missing/file",
            exit=66,
            file=file,
            hint="a folder written by opt-partition is expected",
        ) from None
    except ValueError as error:
        raise OptPartitionError(f"not JSON: {error}", code="bad-plan/syntax", file=file) from None
    if text.get("format") != "opt-partition plan" or text.get("version") != 2:
        raise OptPartitionError(
            "not a plan that this version reads",
            code="bad-plan/version",
            file=file,
            expected="opt-partition plan, version 2",
            found=f"{text.get('format')}, version {text.get('version')}",
            hint="make it again from its model",
        )
    return Plan(folder, text)
