"""The operators of emitted graphs that exchange nothing, as PyTorch functions: one table.

A row makes a function of tensors from a node. Operands that give shapes, axes and the like (`host`) are read while the
graph is specialised, not when it runs: then nothing waits for the device, and a CUDA graph can hold the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from .graph import DTYPES, Node

Function = Callable[..., Any]
Numbers = Mapping[int, list[Any] | None]  # of each host operand, flat; None if it is absent


@dataclass(frozen=True)
class Operator:
    make: Callable[[Node, Numbers], Function]
    host: tuple[int, ...] = ()
    view: bool = False  # the result lies in its operand's memory


OPERATORS: dict[str, Operator] = {}


def operator(
    name: str, host: tuple[int, ...] = (), view: bool = False
) -> Callable[[Callable[[Node, Numbers], Function]], None]:
    def add(make: Callable[[Node, Numbers], Function]) -> None:
        OPERATORS[name] = Operator(make, host, view)

    return add


def _plain(name: str, function: Function) -> None:
    OPERATORS[name] = Operator(lambda node, numbers: function)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.dtype.is_floating_point else torch.div(a, b, rounding_mode="trunc")


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Max and Min take any number of operands."""

    def run(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return run


_PLAIN: dict[str, Function] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Div": _divide,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}
for _name, _function in _PLAIN.items():
    _plain(_name, _function)


@operator("Identity", view=True)
def _identity(node: Node, numbers: Numbers) -> Function:
    return lambda x: x


@operator("Pow")
def _pow(node: Node, numbers: Numbers) -> Function:
    return lambda x, y: torch.pow(x, y).to(x.dtype)


@operator("Mod")
def _mod(node: Node, numbers: Numbers) -> Function:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


@operator("IsInf")
def _is_inf(node: Node, numbers: Numbers) -> Function:
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if positive and negative:
        return torch.isinf
    return torch.isposinf if positive else torch.isneginf


@operator("Cast")
def _cast(node: Node, numbers: Numbers) -> Function:
    dtype = DTYPES[node.attributes["to"]]
    return lambda x: x.to(dtype)


@operator("Clip")
def _clip(node: Node, numbers: Numbers) -> Function:
    present = [bool(name) for name in node.inputs[1:]]

    def run(x: Tensor, *bounds: Tensor) -> Tensor:
        left = list(bounds)
        for there, bound in zip(present, (torch.maximum, torch.minimum)):
            if there:
                x = bound(x, left.pop(0))
        return x

    return run


@operator("Softmax")
def _softmax(node: Node, numbers: Numbers) -> Function:
    axis = node.get("axis", -1)
    return lambda x: torch.softmax(x, axis)


@operator("LayerNormalization")
def _layer_norm(node: Node, numbers: Numbers) -> Function:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.layer_norm(x, x.shape[axis if axis >= 0 else x.ndim + axis :], scale, bias, epsilon)

    return run


@operator("Einsum")
def _einsum(node: Node, numbers: Numbers) -> Function:
    equation = node.attributes["equation"]
    return lambda *x: torch.einsum(equation, *x)


# Shapes.


@operator("Shape")
def _shape(node: Node, numbers: Numbers) -> Function:
    start, end = node.get("start", 0), node.get("end", None)
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@operator("Reshape", host=(1,), view=True)
def _reshape(node: Node, numbers: Numbers) -> Function:
    target = numbers[1] or []
    keep = not node.get("allowzero", 0)

    def run(x: Tensor) -> Tensor:
        return x.reshape([x.shape[i] if keep and extent == 0 else extent for i, extent in enumerate(target)])

    return run


@operator("Transpose", view=True)
def _transpose(node: Node, numbers: Numbers) -> Function:
    order = node.get("perm", None)
    return lambda x: x.permute(order if order is not None else list(range(x.ndim))[::-1])


@operator("Squeeze", host=(1,), view=True)
def _squeeze(node: Node, numbers: Numbers) -> Function:
    axes = numbers.get(1) or node.get("axes", None)
    return lambda x: x.squeeze(tuple(axes)) if axes else x.squeeze()


@operator("Unsqueeze", host=(1,), view=True)
def _unsqueeze(node: Node, numbers: Numbers) -> Function:
    axes = numbers.get(1) or node.get("axes", [])

    def run(x: Tensor) -> Tensor:
        whole = x.ndim + len(axes)
        for axis in sorted(axis % whole for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Expand", host=(1,), view=True)
def _expand(node: Node, numbers: Numbers) -> Function:
    target = numbers[1] or []
    return lambda x: x.expand(torch.broadcast_shapes(x.shape, target))


@operator("Concat")
def _concat(node: Node, numbers: Numbers) -> Function:
    axis = node.attributes["axis"]
    return lambda *x: torch.cat(x, axis)


@operator("Slice", host=(1, 2, 3, 4), view=True)
def _slice(node: Node, numbers: Numbers) -> Function:
    starts, ends = numbers[1] or [], numbers[2] or []
    axes = numbers.get(3) or range(len(starts))
    steps = numbers.get(4) or [1] * len(starts)

    def run(x: Tensor) -> Tensor:
        for start, end, axis, step in zip(starts, ends, axes, steps):
            if step > 0:  # Python's own rule for what lies outside
                begin, stop, _ = slice(start, end, step).indices(x.shape[axis])
                x = x[(slice(None),) * (axis % x.ndim) + (slice(begin, max(begin, stop), step),)]
            else:
                # ONNX clamps to [-1, n-1] backwards, and Python reads a -1 as the last: None is what stands before
                # the first.
                n = x.shape[axis]
                order = range(n)[start : None if end < -n else end : step]
                x = x.index_select(axis, torch.tensor(list(order), dtype=torch.int64, device=x.device))
        return x

    return run


@operator("Pad", host=(1, 3))
def _pad(node: Node, numbers: Numbers) -> Function:
    pads, mode = numbers[1] or [], node.get("mode", "constant")
    if mode != "constant":
        raise NotImplementedError(f"mode '{mode}'")
    half = len(pads) // 2
    constant = 1 if len(node.inputs) > 2 and node.inputs[2] else 0

    def run(x: Tensor, *value: Tensor) -> Tensor:
        axes = [axis % x.ndim for axis in (numbers.get(3) or range(half))]
        widths = [(0, 0)] * x.ndim
        for i, axis in enumerate(axes):
            widths[axis] = (pads[i], pads[half + i])
        shape = [extent + before + after for extent, (before, after) in zip(x.shape, widths)]
        out = x.new_zeros(shape) if not constant else value[0].reshape(()).expand(shape).clone()
        inner, part = out, x
        for axis, (before, after) in enumerate(widths):  # a negative width cuts
            part = part.narrow(axis, max(0, -before), x.shape[axis] - max(0, -before) - max(0, -after))
            inner = inner.narrow(axis, max(0, before), part.shape[axis])
        inner.copy_(part)
        return out

    return run


# Indices. ONNX counts negative ones from the end.


def _wrapped(indices: Tensor, extent: int) -> Tensor:
    return torch.where(indices < 0, indices + extent, indices)


@operator("Gather")
def _gather(node: Node, numbers: Numbers) -> Function:
    axis = node.get("axis", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        at = axis % x.ndim
        rows = x.index_select(at, _wrapped(indices, x.shape[at]).reshape(-1).to(torch.int64))
        return rows.reshape([*x.shape[:at], *indices.shape, *x.shape[at + 1 :]])

    return run


@operator("GatherElements")
def _gather_elements(node: Node, numbers: Numbers) -> Function:
    axis = node.get("axis", 0)
    return lambda x, indices: torch.gather(x, axis, _wrapped(indices, x.shape[axis]).to(torch.int64))


@operator("ScatterElements")
def _scatter_elements(node: Node, numbers: Numbers) -> Function:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        where = _wrapped(indices, x.shape[axis]).to(torch.int64)
        if reduction == "none":
            return torch.scatter(x, axis, where, updates)
        names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
        return torch.scatter_reduce(x, axis, where, updates, names[reduction])

    return run


@operator("ScatterND")
def _scatter_nd(node: Node, numbers: Numbers) -> Function:
    reduction = node.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise NotImplementedError(f"reduction '{reduction}'")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        where = tuple(_wrapped(part, extent).to(torch.int64) for part, extent in zip(indices.unbind(-1), x.shape))
        return torch.index_put(x, where, updates, accumulate=reduction == "add")

    return run


@operator("CumSum", host=(1,))
def _cumsum(node: Node, numbers: Numbers) -> Function:
    axis = (numbers[1] or [0])[0]
    exclusive, reverse = node.get("exclusive", 0), node.get("reverse", 0)

    def run(x: Tensor) -> Tensor:
        total = x.flip(axis).cumsum(axis, dtype=x.dtype).flip(axis) if reverse else x.cumsum(axis, dtype=x.dtype)
        return total - x if exclusive else total

    return run


@operator("Range", host=(0, 1, 2))
def _range(node: Node, numbers: Numbers) -> Function:
    start, stop, step = ((numbers[i] or [0])[0] for i in range(3))
    dtype = torch.float32 if isinstance(start, float) else torch.int64
    return lambda: torch.arange(start, stop, step, dtype=dtype)


@operator("TopK", host=(1,))
def _top_k(node: Node, numbers: Numbers) -> Function:
    k = (numbers[1] or [0])[0]
    axis, largest, ordered = node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    return lambda x: tuple(torch.topk(x, k, axis, largest, ordered))


def _reduction(name: str, function: Callable[[Tensor, Sequence[int], bool], Tensor]) -> None:
    def make(node: Node, numbers: Numbers) -> Function:
        axes = numbers.get(1) or node.get("axes", None)
        keep = bool(node.get("keepdims", 1))
        if not axes and node.get("noop_with_empty_axes", 0):
            return lambda x: x
        return lambda x: function(x, list(axes) if axes else list(range(x.ndim)), keep)

    OPERATORS[name] = Operator(make, host=(1,))


def _product(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _extreme(name: str) -> Callable[[Tensor, Sequence[int], bool], Tensor]:
    # Of an empty dim the identity, as docs/collectives.md says: torch has none.
    identity = float("-inf") if name == "amax" else float("inf")

    def run(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        if any(x.shape[axis] == 0 for axis in axes):
            return torch.sum(x, list(axes), keepdim=keep) + identity
        function = torch.amax if name == "amax" else torch.amin
        return function(x, tuple(axes), keepdim=keep)

    return run


_reduction("ReduceSum", lambda x, axes, keep: torch.sum(x, list(axes), keepdim=keep, dtype=x.dtype))
_reduction("ReduceMean", lambda x, axes, keep: torch.mean(x, list(axes), keepdim=keep))
_reduction("ReduceMax", _extreme("amax"))
_reduction("ReduceMin", _extreme("amin"))
_reduction("ReduceProd", _product)
