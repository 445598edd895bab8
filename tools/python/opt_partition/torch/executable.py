"""A program ready to run: values have places in a list, known ones lie on the device, and each is dropped after its
last use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .collectives import Pending
from .program import Program, Step, Value


@dataclass(frozen=True)
class _Bound:
    step: Step
    function: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    done: tuple[int, ...]  # places that nobody reads after this


class Executable:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.places: dict[Value, int] = {}
        self.known: list[tuple[int, Tensor]] = []
        on_device: dict[int, Tensor] = {}
        for step in program.steps:
            for value in [*step.inputs, *step.outputs]:
                self._place(value, on_device)
        for value in [*program.inputs.values(), *program.outputs.values()]:
            self._place(value, on_device)
        self.steps = self._bind()

    def _place(self, value: Value, on_device: dict[int, Tensor]) -> None:
        if value in self.places:
            return
        place = self.places[value] = len(self.places)
        if value.known:
            if id(value.tensor) not in on_device:
                on_device[id(value.tensor)] = value.tensor.to(self.program.device)
            self.known.append((place, on_device[id(value.tensor)]))

    def _bind(self) -> list[_Bound]:
        keep = {self.places[value] for value in self.program.outputs.values()} | {place for place, _ in self.known}
        last: dict[int, Step] = {}
        for step in self.program.steps:
            for value in [*step.inputs, *step.outputs]:
                last[self.places[value]] = step
        ends: dict[Step, list[int]] = {}
        for place, step in last.items():
            if place not in keep:
                ends.setdefault(step, []).append(place)
        return [
            _Bound(
                step,
                step.function,
                tuple(self.places[v] for v in step.inputs),
                tuple(self.places[v] for v in step.outputs),
                tuple(ends.get(step, ())),
            )
            for step in self.program.steps
        ]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs; `inputs` lie on the device."""
        run = self.start(inputs)
        while True:
            try:
                next(run)
            except StopIteration as end:
                return dict(end.value)

    def start(self, inputs: Mapping[str, Tensor]) -> Generator[None, None, dict[str, Tensor]]:
        """A run that pauses where a collective has begun and nothing is left but to wait for it."""
        table: list[Any] = [None] * len(self.places)
        for place, tensor in self.known:
            table[place] = tensor
        for name, value in self.program.inputs.items():
            if not value.known:
                table[self.places[value]] = inputs[name]
        for bound in self.steps:
            try:
                results = bound.function(*[table[place] for place in bound.inputs])
                if isinstance(results, Pending):
                    yield
                    results = results.finish()
            except RuntimeError as error:
                raise self.program.graph.error(str(error), bound.step.node, code="failed/operator", exit=70) from error
            for place, result in zip(bound.outputs, results if isinstance(results, tuple) else (results,)):
                table[place] = result
            for place in bound.done:
                table[place] = None
        return {name: table[self.places[value]] for name, value in self.program.outputs.items()}


def run_interleaved(parts: Sequence[Executable], inputs: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Several runs at once: while one waits for a collective, the others compute. All ranks take the same turns."""
    runs = {i: part.start(of) for i, (part, of) in enumerate(zip(parts, inputs))}
    outputs: list[dict[str, Tensor]] = [{}] * len(parts)
    while runs:
        for i, run in list(runs.items()):
            try:
                next(run)
            except StopIteration as end:
                outputs[i] = end.value
                del runs[i]
    return outputs


Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Captured:
    """A run as one CUDA graph, collectives included: no launch waits for Python. Its outputs are written over by the
    next."""

    def __init__(self, run: Run, inputs: Mapping[str, Tensor]) -> None:
        self.inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # first runs choose kernels and connect NCCL, which a capture may not
            for _ in range(3):
                run(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        # NCCL's watchdog asks for events on its own thread, which must not end the capture on this one.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = run(self.inputs)

    def take(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs, copied to where the graph reads them."""
        for name, tensor in inputs.items():
            self.inputs[name].copy_(tensor)
        return self.inputs

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if inputs is not self.inputs:
            self.take(inputs)
        self.graph.replay()
        return self.outputs
