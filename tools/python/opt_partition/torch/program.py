"""A graph as the steps that one set of shapes needs.

`specialise` walks over the nodes with what is known before any data comes: weights, shapes, and what is computed from
them alone, masks and tables of positions among it. That is computed here, once. All else is followed by shape and dtype
only (torch's meta device) and becomes a step. Passes in fusions.py and attention.py then rewrite steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import OptPartitionError
from .collectives import Groups, finished, is_collective, make_collective, result_shape
from .graph import DTYPES, Graph, Node
from .operators import OPERATORS


class Value:
    """A tensor of the program: its numbers if they are known, else a meta tensor with its shape and dtype."""

    __slots__ = ("name", "tensor", "known", "producer")

    def __init__(self, name: str, tensor: Tensor, known: bool, producer: Step | None = None) -> None:
        self.name = name
        self.tensor = tensor
        self.known = known
        self.producer = producer

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype


@dataclass(eq=False)
class Step:
    """A function of values. `op` is the operator's name, or that of what several were fused to."""

    op: str
    node: Node
    function: Callable[..., Any]
    inputs: list[Value]
    outputs: list[Value]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Program:
    graph: Graph
    device: torch.device
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    steps: list[Step]

    def users(self) -> dict[Value, list[Step]]:
        """Who reads each value; an output of the graph has None among its readers' places, so it is never one step's
        alone."""
        users: dict[Value, list[Step]] = {}
        for step in self.steps:
            for value in step.inputs:
                users.setdefault(value, []).append(step)
        keep = Step("output", Node("", "output", (), (), {}), lambda: None, [], [])
        for value in self.outputs.values():
            users.setdefault(value, []).append(keep)
        return users

    def drop_unused(self) -> None:
        """Collectives stay, whoever uses them: the others of the group come to them (docs/collectives.md, section
        4)."""
        needed = set(self.outputs.values())
        kept: list[Step] = []
        for step in reversed(self.steps):
            if is_collective(step.node.op) or any(out in needed for out in step.outputs):
                kept.append(step)
                needed.update(step.inputs)
        self.steps = kept[::-1]


@dataclass(frozen=True)
class Options:
    device: torch.device
    narrow: bool = False  # what comes of weights is held in bfloat16


class Specialiser:
    def __init__(self, graph: Graph, weights: Mapping[str, Tensor], groups: Groups, options: Options) -> None:
        self.graph = graph
        self.groups = groups
        self.options = options
        self.values: dict[str, Value] = {name: Value(name, tensor, True) for name, tensor in weights.items()}
        self.steps: list[Step] = []
        self.narrowed: dict[Value, Value] = {}

    def run(self, inputs: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Program:
        """`inputs` are meta tensors; those of `fixed` are known by their numbers."""
        bound: dict[str, Value] = {}
        for name, tensor in inputs.items():
            known = name in fixed
            self.values[name] = bound[name] = Value(name, fixed[name] if known else tensor.to("meta"), known)
        for node in self.graph.nodes:
            try:
                self._node(node)
            except OptPartitionError:
                raise
            except NotImplementedError as error:
                raise self.graph.error(f"not supported: {error}", node) from None
            except (RuntimeError, IndexError, ValueError, TypeError) as error:
                shapes = ", ".join(
                    f"{self.values[name].dtype} {list(self.values[name].shape)}"
                    for name in node.inputs
                    if name in self.values
                )
                raise self.graph.error(
                    f"{error}".splitlines()[0], node, code="bad-graph/operands", found=shapes
                ) from error
        outputs: dict[str, Value] = {}
        for name in self.graph.outputs:
            if name not in self.values:
                raise self.graph.error("no node makes this output", tensor=name, code="bad-graph/output")
            outputs[name] = self.values[name]
        program = Program(self.graph, self.options.device, bound, outputs, self.steps)
        program.drop_unused()
        return program

    def _operands(self, node: Node) -> list[Value | None]:
        found: list[Value | None] = []
        for name in node.inputs:
            if name and name not in self.values:
                raise self.graph.error("no node makes this operand", node, tensor=name, code="bad-graph/operand")
            found.append(self.values[name] if name else None)
        return found

    def _node(self, node: Node) -> None:
        operands = self._operands(node)
        if is_collective(node.op):
            self._collective(node, operands)
            return
        if node.op == "Constant":
            raise NotImplementedError("a Constant node; opt-partition writes initializers")
        if node.op not in OPERATORS:
            raise self.graph.error("an operator that this reader does not know", node)
        row = OPERATORS[node.op]
        numbers: dict[int, list[Any] | None] = {}
        for i in row.host:
            value = operands[i] if i < len(operands) else None
            if value is not None and not value.known:
                raise self.graph.error(
                    "depends on data, and has to follow from shapes",
                    node,
                    tensor=value.name,
                    code="bad-graph/dynamic-shape",
                )
            numbers[i] = None if value is None else value.tensor.reshape(-1).tolist()
        taken = [value for i, value in enumerate(operands) if value is not None and i not in row.host]
        if self._is_kept(node, taken):
            self.values[node.outputs[0]] = taken[0]
            return
        if self.options.narrow and node.op not in ("Cast", "Shape"):
            taken = self._narrow(taken)
        self.emit(node.op, node, row.make(node, numbers), taken)

    def _is_kept(self, node: Node, operands: Sequence[Value]) -> bool:
        """What changes nothing: a cast to the same dtype, a product with 1, and, in bfloat16, widening."""
        x = operands[0] if operands else None
        if node.op == "Identity":
            return True
        if node.op == "Cast" and x is not None:
            to = DTYPES[node.attributes["to"]]
            return x.dtype == to or (self.options.narrow and x.dtype == torch.bfloat16 and to == torch.float32)
        if node.op in ("Mul", "Div") and len(operands) == 2 and x is not None:
            other = operands[1]
            if other.known and other.tensor.numel() == 1 and other.tensor.ndim <= x.tensor.ndim and not x.known:
                return float(other.tensor) == 1.0
        return False

    def _narrow(self, operands: Sequence[Value]) -> list[Value]:
        """Where one operand is bfloat16 float32 ones follow it: what comes of weights is bfloat16, tables of angles
        and masks keep their digits until they meet it."""
        if not any(value.dtype == torch.bfloat16 for value in operands):
            return list(operands)
        return [self.narrowed_of(value) if value.dtype == torch.float32 else value for value in operands]

    def narrowed_of(self, value: Value) -> Value:
        if value not in self.narrowed:
            if value.known:
                self.narrowed[value] = Value(value.name, narrow(value.tensor), True)
            else:
                node = Node(value.name + ".bf16", "Cast", (value.name,), (value.name + ".bf16",), {"to": 16})
                self.narrowed[value] = self.emit("Cast", node, narrow, [value])[0]
        return self.narrowed[value]

    def emit(self, op: str, node: Node, function: Callable[..., Any], operands: list[Value]) -> list[Value]:
        if op == "Shape":
            results: Any = function(operands[0].tensor)
            known = True
        elif all(value.known for value in operands) and not self._is_widened_weight(op, operands):
            results, known = function(*self._together(operands)), True
        else:
            results, known = function(*(value.tensor.to("meta") for value in operands)), False
        tensors = results if isinstance(results, tuple) else (results,)
        outputs = [Value(name, tensor, known) for name, tensor in zip(node.outputs, tensors)]
        if not known:
            step = Step(op, node, function, list(operands), outputs)
            self.steps.append(step)
            for value in outputs:
                value.producer = step
        self.values.update(zip(node.outputs, outputs))
        return outputs

    def _is_widened_weight(self, op: str, operands: Sequence[Value]) -> bool:
        """A bfloat16 weight that the graph widens for a product stays narrow: the product takes it so (fusions.py)."""
        x = operands[0] if operands else None
        return op == "Cast" and x is not None and x.dtype == torch.bfloat16 and x.tensor.ndim >= 2

    def _together(self, operands: Sequence[Value]) -> list[Tensor]:
        tensors = [value.tensor for value in operands]
        if any(tensor.device.type != "cpu" for tensor in tensors):
            return [tensor.to(self.options.device) for tensor in tensors]
        return tensors

    def _collective(self, node: Node, operands: Sequence[Value | None]) -> None:
        x = operands[0]
        if x is None:
            raise self.graph.error("no input", node, code="bad-graph/operand")
        total = node.get("total", None)
        if len(operands) > 1 and operands[1] is not None:
            if not operands[1].known:
                raise self.graph.error(
                    "depends on data, and has to follow from shapes",
                    node,
                    tensor=operands[1].name,
                    code="bad-graph/dynamic-shape",
                )
            total = int(operands[1].tensor.reshape(-1)[0])
        function = make_collective(node, total, x.tensor.ndim, self.groups)
        if x.known and "extent" in node.attributes:
            # The ranks' parts of an extent: shapes need it, and all ranks specialise together.
            device = self.options.device
            self.values[node.outputs[0]] = Value(node.outputs[0], finished(function(x.tensor.to(device))).cpu(), True)
            return
        shape = result_shape(node, x.shape, total, self.groups)
        out = Value(node.outputs[0], torch.empty(shape, dtype=x.dtype, device="meta"), False)
        out.producer = Step(node.op, node, function, [x], [out], {"groups": self.groups, "total": total})
        self.steps.append(out.producer)
        self.values[out.name] = out


def narrow(x: Tensor) -> Tensor:
    """float32 as bfloat16. A mask's lowest float32 lies beyond bfloat16's range, where it would become an infinity."""
    if x.device.type == "meta":
        return x.to(torch.bfloat16)
    limits = torch.finfo(torch.bfloat16)
    return torch.where(x.isinf(), x, x.clamp(limits.min, limits.max)).to(torch.bfloat16)
