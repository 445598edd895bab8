"""The program's verbs as functions: arrays and numbers in, arrays and dataclasses out. Every keyword that a function
does not name is a flag of the verb (`program.flag_words`)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckFailed, UsageError
from .exchange import (
    Place,
    Whole,
    file_for,
    file_name,
    folder_for,
    input_words,
    load,
    number,
    read_json,
    token_file,
)
from .plan import Plan, read_plan
from .program import Flag, call

if TYPE_CHECKING:
    import numpy


def partition(model: Place, *, output: Place, progress: bool = False, **flags: Flag) -> Plan:
    """Splits a model and writes the folder `output`: plan and, for each device, a graph with its weights."""
    call("partition", model, progress=progress, output=output, **flags)
    return read_plan(output)


def inspect(plan: Plan | Place, *, progress: bool = False, **flags: Flag) -> Any:
    """What `inspect --json` prints: of a plan, or of a model the plan that it would get. With `tensor=`, `fit=` and
    others what these ask for."""
    return json.loads(call("inspect", _place(plan), progress=progress, json=True, **flags))


def run(
    plan: Plan | Place,
    inputs: Mapping[str, Whole] | None = None,
    *,
    output: Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> dict[str, numpy.ndarray]:
    """Runs a plan of inference on whole inputs, and gives the whole outputs by name; they also stay in the folder
    `output`, if one is named. bfloat16 comes out as float32."""
    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    if plan.job == "training":
        raise UsageError(
            "this plan is of a training step",
            code="usage/bad-value",
            exit=2,
            file=plan.path / "plan.json",
            hint="run_steps runs it",
        )
    with input_words(inputs) as given, folder_for(output) as results:
        said = call("run", plan.path, progress=progress, **given, output=results, **flags)
        # A line for each output, in the plan's order: FILE  DTYPE [SHAPE].
        files = [Path(line.rpartition("  ")[0]).name for line in said.splitlines()[-len(plan.outputs) :]]
        return {entry.name: load(results / file) for entry, file in zip(plan.outputs, files, strict=True)}


@dataclass(frozen=True)
class Steps:
    """What training steps gave. Arrays are whole, under the names of the ONNX initializers."""

    losses: list[float]
    gradients: dict[str, numpy.ndarray]
    parameters: dict[str, numpy.ndarray]
    state: dict[str, dict[str, numpy.ndarray]]


def run_steps(
    plan: Plan | Place,
    batches: Sequence[Mapping[str, numpy.ndarray | Sequence[Any]]],
    *,
    output: Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> Steps:
    """Runs a plan of training, a step for each batch or as many as `steps=` says, batches in turn. `dump=` says what
    to give beside losses: "gradients", "parameters", "state"."""
    import numpy

    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    dtypes = {entry.name: entry.dtype.replace("bfloat16", "float32") for entry in plan.inputs}
    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder, folder_for(output) as results:
        folders = [Path(folder) / str(k) for k in range(len(batches))]
        for place, batch in zip(folders, batches):
            place.mkdir()
            for name, array in batch.items():
                # What has no dtype of its own gets the plan's.
                dtype = None if isinstance(array, numpy.ndarray) else dtypes.get(name)
                numpy.save(place / f"{file_name(name)}.npy", numpy.asarray(array, dtype))
        call("run", plan.path, progress=progress, inputs_dir=folders, output=results, **flags)
        index = read_json(results / "index.json")

        def arrays(kind: Mapping[str, str]) -> dict[str, numpy.ndarray]:
            return {name: load(results / file) for name, file in kind.items()}

        return Steps(
            [number(loss) for loss in index["losses"]],
            arrays(index.get("gradients", {})),
            arrays(index.get("parameters", {})),
            {name: arrays(kinds) for name, kinds in index.get("state", {}).items()},
        )


@dataclass(frozen=True)
class Comparison:
    """Values that a check compared: the error is the worst, as a share of what it is measured by."""

    name: str
    against: str
    values: int
    elements: int
    error: float
    allowed: float
    holds: bool


@dataclass(frozen=True)
class Check:
    """What a check compared. `json` has all of it (docs/check.schema.json)."""

    dims: dict[str, int]
    comparisons: list[Comparison]
    json: Mapping[str, Any]


def check(
    model: Place,
    *,
    inputs: Mapping[str, Whole] | None = None,
    json: Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> Check:
    """Checks that the partitioned model computes what the whole does. Where it does not, CheckFailed is raised, and its
    `report` is the Check."""
    with input_words(inputs) as given, file_for(json) as report:
        try:
            call("check", model, progress=progress, **given, json=report, **flags)
        except CheckFailed as error:
            if report.exists():
                error.report = _check(report)
            raise
        return _check(report)


def _check(report: Path) -> Check:
    found = read_json(report)
    comparisons = [
        Comparison(
            row["name"],
            row["against"],
            row["values"],
            row["elements"],
            number(row["error"], float("inf")),
            row["allowed"],
            row["holds"],
        )
        for row in found["comparisons"]
    ]
    return Check(found["dims"], comparisons, found)


@dataclass(frozen=True)
class Step:
    """A training step: a line of the log (docs/log.schema.json)."""

    step: int
    epoch: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Training:
    """A training run: its steps, and the folder of its checkpoint."""

    steps: list[Step]
    checkpoint: Path

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    def export(self, output: Place, *, progress: bool = False, **flags: Flag) -> Path:
        """Writes the trained weights into a model like the one that was trained."""
        return export(self.checkpoint, output, progress=progress, **flags)

    def reshard(self, output: Place, *, progress: bool = False, **flags: Flag) -> Path:
        """Writes the checkpoint anew, for other devices (`devices=`, `mesh=`, `zero=`)."""
        return reshard(self.checkpoint, output, progress=progress, **flags)


def train(
    model: Place,
    *,
    data: Place | numpy.ndarray | Sequence[int] | None = None,
    save: Place | None = None,
    resume: Place | None = None,
    log: Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> Training:
    """Trains a model on token ids: a file, an array or a list; without, on the folders of `inputs_dir=`. `save` names
    the folder for checkpoints, `resume` the one to go on from; the steps are those that this call did."""
    with token_file(data) as tokens, file_for(log) as lines_of:
        call("train", model, progress=progress, data=tokens, save=save, resume=resume, log=lines_of, **flags)
        lines = [json.loads(line) for line in lines_of.read_text(encoding="utf-8").splitlines()]
    fields = Step.__dataclass_fields__
    steps = [Step(**{name: line[name] for name in fields}) for line in lines]
    return Training(steps, Path(save or resume or ""))


def export(checkpoint: Place, output: Place, *, progress: bool = False, **flags: Flag) -> Path:
    """Writes the weights of a checkpoint into a model like the one that was trained, as NAME.safetensors, or, with
    `plan=` a folder of partition, as a folder of a safetensors file a device."""
    call("export", checkpoint, progress=progress, output=output, **flags)
    return Path(output)


def reshard(checkpoint: Place, output: Place, *, progress: bool = False, **flags: Flag) -> Path:
    """Writes a checkpoint anew, for other devices (`devices=`, `mesh=`, `zero=`), and gives its folder."""
    call("reshard", checkpoint, progress=progress, output=output, **flags)
    return Path(output)


def bench(
    model: Place,
    *,
    inputs: Mapping[str, Whole] | None = None,
    json: Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> dict[str, Any]:
    """Times a partitioned model: what `bench --json` writes."""
    with input_words(inputs) as given, file_for(json) as report:
        call("bench", model, progress=progress, **given, json=report, **flags)
        found: dict[str, Any] = read_json(report)
    return found


def version() -> dict[str, Any]:
    """Versions of the program and of what it runs on: `--version --json`."""
    found: dict[str, Any] = json.loads(call("--version", json=True))
    return found


def _place(plan: Plan | Place) -> Place:
    return plan.path if isinstance(plan, Plan) else plan
