"""Training steps of a rank: parameters and states stay on the device, and each NAME.next becomes the next step's
NAME."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
import torch
from torch import Tensor

from ..errors import OptPartitionError
from .runner import Runner


class Training:
    def __init__(self, runner: Runner, learning_rate: float | None = None) -> None:
        if runner.plan.job != "training":
            raise OptPartitionError(
                "a plan of inference",
                code="usage/plan",
                exit=2,
                file=runner.plan.path / "plan.json",
                hint="opt-partition MODEL --train writes plans of training",
            )
        self.runner = runner
        self.plan = runner.plan
        training = self.plan.json["training"]
        self.micro_batches = int(training["accumulate"])
        self.rate = float(training["learning_rate"]) if learning_rate is None else learning_rate
        self.entries = {entry.name: entry for entry in self.plan.inputs}
        self.carried: dict[str, Tensor] = {}  # what one step hands to the next
        for entry in self.plan.inputs:
            if entry.role == "parameter":
                self.carried[entry.name] = runner.weights[entry.name].to(runner.device)
            elif entry.role in ("state", "step", "accumulated"):
                self.carried[entry.name] = self._zeros(entry.name)
            elif entry.role == "learning_rate":
                self.carried[entry.name] = torch.tensor(
                    self.rate, dtype=runner.graph.dtypes[entry.name], device=runner.device
                )
        self.outputs: dict[str, Tensor] = {}

    def _zeros(self, name: str) -> Tensor:
        shape = self.entries[name].shard(self.runner.rank).local_shape({})
        return torch.zeros(shape, dtype=self.runner.graph.dtypes[name], device=self.runner.device)

    def step(self, batches: Sequence[Mapping[str, numpy.ndarray]]) -> float:
        """One step of as many micro-batches as the plan accumulates; the loss."""
        if len(batches) != self.micro_batches:
            raise OptPartitionError(
                "micro-batches of a step", code="usage/batches", exit=2, expected=self.micro_batches, found=len(batches)
            )
        for name, entry in self.entries.items():
            if entry.role == "accumulated":
                self.carried[name] = self._zeros(name)
        for i, batch in enumerate(batches):
            whole = self.runner.whole(batch)
            missing = [e.name for e in self.plan.inputs if e.role in ("data", "labels") and e.name not in whole.arrays]
            if missing:
                raise OptPartitionError("an input is missing", code="missing/input", exit=66, tensor=", ".join(missing))
            inputs = {**self.carried, **self.runner.local(whole)}
            self.outputs = self.runner.executable(inputs, whole.dims, {})(inputs)
            self._carry(last=i + 1 == len(batches))
        name = next(entry.name for entry in self.plan.outputs if entry.role == "loss")
        loss = float(self.outputs[name])
        if loss != loss and not any(
            (batch[e.name] != -100).any() for batch in batches for e in self.plan.inputs if e.role == "labels"
        ):
            raise OptPartitionError("no label of this step counts, so it has no mean loss", code="bad-input/labels")
        return loss

    def _carry(self, last: bool) -> None:
        """All micro-batches but the last hand on their sums, the last hands on all else (docs/plan-schema.md, section
        4)."""
        for source, target in self.plan.updates:
            if (self.entries[source].role == "accumulated") != last:
                self.carried[source] = self.outputs[target]

    def arrays(self) -> dict[str, dict[str, numpy.ndarray]]:
        """Gradients of the last step, parameters and states after it, whole, at rank 0."""
        named: dict[str, tuple[str, str]] = {}
        for entry in self.plan.outputs:
            parameter = str(entry.more.get("parameter"))
            if entry.role == "gradient":
                named[entry.name] = ("gradients", parameter)
            elif entry.role == "parameter":
                named[entry.name] = ("parameters", parameter)
            elif entry.role == "state":
                named[entry.name] = ("state", f"{parameter}/{entry.more['kind']}")
        whole = self.runner.join({name: self.outputs[name] for name in named}, {})
        kinds: dict[str, dict[str, numpy.ndarray]] = {"gradients": {}, "parameters": {}, "state": {}}
        for name, array in whole.items():
            kind, key = named[name]
            kinds[kind][key] = array
        return kinds
