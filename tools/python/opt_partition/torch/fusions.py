"""Rewrites of a program's steps that make the same numbers in fewer passes over memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from .collectives import make_collective
from .graph import OWN_DOMAIN
from .program import Program, Step, Value


def fuse(program: Program) -> None:
    take_narrow_operands(program)
    fuse_linear(program)
    join_linear(program)
    fuse_add_norm(program)
    program.drop_unused()


# Products of bfloat16 operands that the graph widens first (docs/half-precision.md): the device multiplies them as
# they are and sums up in float32.


def _narrow_source(value: Value, new_steps: list[Step]) -> Value | None:
    step = value.producer
    if step is None or value.dtype != torch.float32:
        return None
    if step.op == "Cast" and step.inputs[0].dtype == torch.bfloat16:
        return step.inputs[0]
    if step.op not in ("Transpose", "Reshape"):
        return None
    source = _narrow_source(step.inputs[0], new_steps)
    if source is None:
        return None
    name = value.name + ".narrow"
    if source.known:
        return Value(name, step.function(source.tensor), True)
    out = Value(name, value.tensor.to(torch.bfloat16), False)
    out.producer = Step(step.op, step.node, step.function, [source], [out])
    new_steps.append(out.producer)
    return out


def wide_matmul(a: Tensor, b: Tensor) -> Tensor:
    """bfloat16 times bfloat16, summed up in float32 and not rounded again."""
    if a.device.type != "cuda":
        return torch.matmul(a.float(), b.float())
    if b.ndim == 2:
        return torch.mm(a.reshape(-1, a.shape[-1]), b, out_dtype=torch.float32).reshape(*a.shape[:-1], b.shape[-1])
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
    right = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
    return torch.bmm(left, right, out_dtype=torch.float32).reshape(*batch, a.shape[-2], b.shape[-1])


def take_narrow_operands(program: Program) -> None:
    steps: list[Step] = []
    for step in program.steps:
        if step.op == "MatMul":
            new_steps: list[Step] = []
            sources = [_narrow_source(value, new_steps) for value in step.inputs]
            if all(source is not None for source in sources):
                steps += new_steps
                step.op, step.function = "wide_matmul", wide_matmul
                step.inputs = [source for source in sources if source is not None]
        steps.append(step)
    program.steps = steps


# Products with a weight, with their bias and a Relu behind it.


def linear(relu: bool) -> Callable[..., Tensor]:
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if relu and x.device.type == "cuda":
            out = torch._addmm_activation(bias, rows, weight, use_gelu=False)
        else:
            out = torch.addmm(bias, rows, weight)
            if relu:
                out = torch.relu_(out)
        return out.reshape(*x.shape[:-1], weight.shape[-1])

    return run


def fuse_linear(program: Program) -> None:
    users = program.users()
    gone: set[Step] = set()
    for step in program.steps:
        if (
            step.op != "MatMul"
            or not step.inputs[1].known
            or step.inputs[1].tensor.ndim != 2
            or step.inputs[0].tensor.ndim < 2
        ):
            continue
        x, weight = step.inputs
        after = _only_user(users, step)
        if after is None or after.op != "Add":
            continue
        bias = after.inputs[1] if after.inputs[0] is step.outputs[0] else after.inputs[0]
        if not bias.known or bias.shape != (weight.shape[-1],) or bias.dtype != weight.dtype:
            continue
        last, relu = after, False
        behind = _only_user(users, after)
        if behind is not None and behind.op == "Relu":
            last, relu = behind, True
            gone.add(after)
        gone.add(step)
        last.op, last.function, last.inputs = "linear", linear(relu), [x, weight, bias]
        last.attributes["relu"] = relu
    program.steps = [step for step in program.steps if step not in gone]


def _only_user(users: dict[Value, list[Step]], step: Step) -> Step | None:
    found = users.get(step.outputs[0], [])
    return found[0] if len(found) == 1 else None


# A residual sum and the norm of it: one pass over memory instead of three.


def add_norm(
    x: Tensor, residual: Tensor, scale: Tensor, shift: Tensor, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor]:
    if bias is not None:
        x = x + bias
    total = residual + x
    return total, functional.layer_norm(total, total.shape[-1:], scale, shift, epsilon)


AddNorm = Callable[..., tuple[Tensor, Tensor]]


@lru_cache(maxsize=1)
def _compiled_add_norm() -> AddNorm:
    """On GPUs, by torch.compile: one kernel. Where that cannot be (no C compiler), as three."""
    compiled: AddNorm = torch.compile(add_norm, dynamic=False)
    works = True

    def run(*operands: Any) -> tuple[Tensor, Tensor]:
        nonlocal works
        if works:
            try:
                return compiled(*operands)
            except Exception as error:  # the compiler's own, of many classes
                if torch.cuda.is_current_stream_capturing():
                    raise
                works = False
                print(
                    f"opt_partition.torch: torch.compile does not work here: {error}".splitlines()[0], file=sys.stderr
                )
        return add_norm(*operands)

    return run


def _add_norm_step(epsilon: float, normed_shape: tuple[int, ...]) -> AddNorm:
    def run(
        x: Tensor, residual: Tensor, scale: Tensor, shift: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        function = _compiled_add_norm() if x.device.type == "cuda" else add_norm
        total, normed = function(x, residual, scale, shift, bias, epsilon)
        return total, normed.reshape(normed_shape)

    return run


def fuse_add_norm(program: Program) -> None:
    users = program.users()
    gone: set[Step] = set()
    for step in program.steps:
        if (
            step.op != "LayerNormalization"
            or len(step.inputs) != 3
            or not all(value.known and value.tensor.ndim == 1 for value in step.inputs[1:])
        ):
            continue
        value = step.inputs[0]
        while (
            value.producer is not None
            and value.producer.op == "Reshape"
            and value.producer.inputs[0].shape[-1:] == value.shape[-1:]
        ):
            value = value.producer.inputs[0]
        add = value.producer
        if add is None or add.op != "Add" or add in gone or any(operand.shape != value.shape for operand in add.inputs):
            continue
        x, residual, bias = _with_bias(add, users, gone)
        normed = step.outputs[0]
        add.op, add.inputs = "add_norm", [x, residual, *step.inputs[1:], *([bias] if bias else [])]
        add.function = _add_norm_step(step.node.get("epsilon", 1e-5), normed.shape)
        add.outputs = [value, normed]
        normed.producer = add
        gone.add(step)
    program.steps = [step for step in program.steps if step not in gone]


def _with_bias(add: Step, users: dict[Value, list[Step]], gone: set[Step]) -> tuple[Value, Value, Value | None]:
    """The operands of a residual sum: what is added, the residual, and the bias of the former where it is added
    apart, as behind an all-reduce."""
    for x, residual in (add.inputs, add.inputs[::-1]):
        inner = x.producer
        if inner is None or inner.op != "Add" or len(users[x]) != 1:
            continue
        for bias, addend in (inner.inputs, inner.inputs[::-1]):
            if bias.known and bias.tensor.ndim == 1 and addend.shape == x.shape:
                gone.add(inner)
                return addend, residual, bias
    return add.inputs[1], add.inputs[0], None


# Sums that overwrite their operand.

_FRESH = {"MatMul", "wide_matmul", "linear", "Einsum", "Where", "Add", "Mul", "Sub", "ReduceSum"}


def reduce_in_place(program: Program) -> None:
    """An all-reduce takes the memory of what it sums, where that is a new tensor that nobody else reads."""
    users = program.users()
    for step in program.steps:
        if step.op != OWN_DOMAIN + ".AllReduce":
            continue
        x = step.inputs[0]
        if not x.known and x.producer is not None and x.producer.op in _FRESH and len(users[x]) == 1:
            step.function = make_collective(step.node, None, x.tensor.ndim, step.attributes["groups"], in_place=True)


# Products of one operand, as queries, keys and values are: one product, whose parts are views.


def join_linear(program: Program) -> None:
    alike: dict[tuple[Any, ...], list[Step]] = {}
    for step in program.steps:
        if step.op == "linear" and not step.attributes["relu"]:
            key = (id(step.inputs[0]), step.inputs[1].dtype, step.inputs[1].tensor.device)
            alike.setdefault(key, []).append(step)
    replaced: dict[Step, list[Step]] = {}
    for steps in alike.values():
        if len(steps) > 1:
            replaced[steps[0]] = _joined(steps)
            replaced.update({step: [] for step in steps[1:]})
    program.steps = [new for step in program.steps for new in replaced.get(step, [step])]


def _joined(steps: list[Step]) -> list[Step]:
    x = steps[0].inputs[0]
    name = "+".join(step.outputs[0].name for step in steps)
    weight = Value(name + ".weight", _cat_columns([step.inputs[1].tensor for step in steps]), True)
    bias = Value(name + ".bias", torch.cat([step.inputs[2].tensor for step in steps]), True)
    function = linear(relu=False)
    whole = Value(name, torch.empty(*x.shape[:-1], weight.shape[-1], dtype=x.dtype, device="meta"), False)
    whole.producer = Step("linear", steps[0].node, function, [x, weight, bias], [whole], {"relu": False})
    out, start = [whole.producer], 0
    for step in steps:
        size = step.inputs[1].shape[-1]
        part = Step("part", step.node, _part(start, size), [whole], step.outputs)
        step.outputs[0].producer = part
        out.append(part)
        start += size
    return out


def _cat_columns(weights: list[Tensor]) -> Tensor:
    """Side by side; in the order in memory that they have, so that the product reads them as before."""
    if all(weight.t().is_contiguous() for weight in weights):
        return torch.cat([weight.t() for weight in weights]).t()
    return torch.cat(weights, 1)


def _part(start: int, size: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.narrow(-1, start, size)
