"""plan.json: how inputs are cut, outputs put together, and which ranks meet (docs/plan-schema.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OptPartitionError
from .extents import Extent, evaluate, is_name

if TYPE_CHECKING:
    import numpy

    from .exchange import Whole
    from .verbs import Steps

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
    """The entry as plan.json has it."""

    @property
    def sharding(self) -> str:
        """How it is cut, in the plan's words: `[tensor, _]`."""
        return str(self.more["sharding"])

    @property
    def cause(self) -> str:
        """Why it is cut so."""
        return str(self.more["cause"]["text"])

    def shard(self, rank: int) -> Shard:
        return next(shard for shard in self.shards if rank in shard.ranks)

    def global_shape(self, dims: Dims) -> tuple[int, ...]:
        return tuple(evaluate(extent, dims) for extent in self.shape)

    def local(self, whole: numpy.ndarray, rank: int, dims: Dims) -> numpy.ndarray:
        """A rank's part of a whole array."""
        import numpy

        indices = self.shard(rank).indices(dims)
        return numpy.ascontiguousarray(whole[numpy.ix_(*indices)]) if indices else whole

    def put(self, whole: numpy.ndarray, part: numpy.ndarray, rank: int, dims: Dims) -> None:
        """A rank's part, into the whole array."""
        import numpy

        indices = self.shard(rank).indices(dims)
        if indices:
            whole[numpy.ix_(*indices)] = part
        else:
            whole[()] = part


@dataclass(frozen=True)
class Collective:
    """A meeting of ranks."""

    id: str
    kind: str
    axes: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    tensor: str
    dtype: str
    shape: tuple[Extent, ...]
    bytes: int
    reason: str
    more: Mapping[str, Any]
    """The entry as plan.json has it."""


def _indices(intervals: Sequence[Sequence[Extent]], dims: Dims) -> numpy.ndarray:
    import numpy

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
    """A folder that opt-partition wrote: what its plan.json says, and how to run it. `json` has all of it."""

    def __init__(self, path: Path, text: Mapping[str, Any]) -> None:
        self.path = path
        self.json = text
        self.devices = int(text["mesh"]["devices"])
        self.mesh = {str(axis["name"]): int(axis["size"]) for axis in text["mesh"].get("axes", [])}
        self.job = str(text["job"])
        self.strategy = str(text.get("strategy", ""))
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
        self.collectives = [self._collective(meeting) for meeting in text["collectives"]]
        self.groups = sorted({group for meeting in self.collectives for group in meeting.groups})
        self.remarks = [str(remark["text"]) for remark in text.get("remarks", [])]

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}={size}" for name, size in self.mesh.items())
        return f"Plan({str(self.path)!r}: {self.job}, {self.strategy}, mesh {axes})"

    def run(
        self,
        inputs: Mapping[str, Whole] | None = None,
        *,
        output: str | Path | None = None,
        progress: bool = False,
        **flags: Any,
    ) -> dict[str, numpy.ndarray]:
        """`verbs.run` of this plan: whole arrays in, whole arrays out."""
        from .verbs import run

        return run(self, inputs, output=output, progress=progress, **flags)

    def run_steps(
        self,
        batches: Sequence[Mapping[str, numpy.ndarray | Sequence[Any]]],
        *,
        output: str | Path | None = None,
        progress: bool = False,
        **flags: Any,
    ) -> Steps:
        """`verbs.run_steps` of this plan, which is one of training."""
        from .verbs import run_steps

        return run_steps(self, batches, output=output, progress=progress, **flags)

    def _collective(self, meeting: Mapping[str, Any]) -> Collective:
        return Collective(
            id=meeting["id"],
            kind=meeting["kind"],
            axes=tuple(meeting["axes"]),
            groups=tuple(map(tuple, meeting["groups"])),
            tensor=meeting["tensor"],
            dtype=meeting["dtype"],
            shape=tuple(meeting["shape"]),
            bytes=int(meeting["bytes"]),
            reason=meeting["reason"],
            more=meeting,
        )

    def _entry(self, entry: Mapping[str, Any]) -> Entry:
        return Entry(
            entry["name"], entry["dtype"], entry["role"], tuple(entry["shape"]), self.layouts[entry["layout"]], entry
        )

    def file(self, rank: int) -> Path:
        return self.path / str(next(device["file"] for device in self.json["devices"] if device["rank"] == rank))

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
        return OptPartitionError(message, code="bad-input/shape-mismatch", file=self.path / "plan.json", **parts)


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan in a folder that opt-partition wrote."""
    folder = Path(folder)
    file = folder / "plan.json"
    try:
        text = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptPartitionError(
            "no such file",
            code="not-found/file",
            exit=66,
            file=file,
            hint="a folder written by opt-partition is expected",
        ) from None
    except ValueError as error:
        raise OptPartitionError(f"not JSON: {error}", code="bad-input/bad-plan", file=file) from None
    if text.get("format") != "opt-partition plan" or text.get("version") != 2:
        raise OptPartitionError(
            "not a plan that this version reads",
            code="bad-input/unsupported-version",
            file=file,
            expected="opt-partition plan, version 2",
            found=f"{text.get('format')}, version {text.get('version')}",
            hint="make it again from its model",
        )
    return Plan(folder, text)
