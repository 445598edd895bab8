"""Attention as graphs spell it, given to torch.nn.functional.scaled_dot_product_attention.

    softmax(q · kᵀ · scale + mask) · v

Scales may stand at q, at k or at the scores; between the parts there may be reshapes that merge or split the dims of
batch and heads. What is recognised is read backwards from the softmax. A mask that is known before data comes (shapes
alone decide it) is compared with a causal one, number by number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor

from .program import Program, Step, Value


@dataclass
class _Scores:
    q: Value
    k_transposed: Value
    scale: float = 1.0
    masks: list[Value] = field(default_factory=list)
    # Of the scores where a mask is added: more dims than softmax's, where heads were merged.
    shape: tuple[int, ...] = ()
    replaced: bool = False  # a mask replaces what it hides, where others are added
    lowest: float | None = None  # scores are clamped from below, as OPT does where two masks hide one token


def recognise_attention(program: Program) -> int:
    """Rewrites what it recognises, and says how many."""
    users = program.users()
    found = 0
    kinds: dict[tuple[Value, tuple[int, ...]], str] = {}  # one mask is compared once, whatever number of layers adds it
    for step in list(program.steps):
        if step.op != "Softmax" or step.node.get("axis", -1) not in (-1, len(step.outputs[0].shape) - 1):
            continue
        product, guarded = _product_behind(users, step)
        scores = _scores(step.inputs[0], users)
        if product is None or scores is None or not _fits(step, product, scores):
            continue
        for mask in scores.masks:
            if (mask, scores.shape) not in kinds:
                kinds[mask, scores.shape] = _kind_of_mask(mask, scores.shape)
        of_data = [mask for mask in scores.masks if kinds[mask, scores.shape] == "data"]
        if (guarded or scores.replaced) and not all(_is_finite(mask) for mask in of_data):
            continue  # the graph says what a row becomes that sees nothing; torch's kernels do not agree on it
        _rewrite(product, scores, kinds, users)
        found += 1
    program.drop_unused()
    return found


def _single(users: dict[Value, list[Step]], value: Value) -> Step | None:
    readers = users.get(value, [])
    return readers[0] if len(readers) == 1 else None


def _product_behind(users: dict[Value, list[Step]], softmax: Step) -> tuple[Step | None, bool]:
    """The product with v, and whether the graph puts 0 where softmax gives no number. A reshape may stand between."""
    value, guarded = softmax.outputs[0], False
    readers = users.get(value, [])
    if sorted(reader.op for reader in readers) == ["IsNaN", "Where"]:
        test, choice = sorted(readers, key=lambda reader: reader.op)
        if (
            choice.inputs[0] is not test.outputs[0]
            or _number(choice.inputs[1]) != 0.0
            or _single(users, test.outputs[0]) is not choice
        ):
            return None, False
        value, guarded = choice.outputs[0], True
    step = _single(users, value)
    if step is not None and step.op == "Reshape":
        value, step = step.outputs[0], _single(users, step.outputs[0])
    is_product = step is not None and step.op == "MatMul" and step.inputs[0] is value and step.inputs[1] is not value
    return step if is_product else None, guarded


def _number(value: Value) -> float | None:
    return float(value.tensor) if value.known and value.tensor.numel() == 1 else None


def _is_finite(mask: Value) -> bool:
    """Whether the mask hides by a number so low, not by an infinity."""
    if mask.known:
        return bool(mask.tensor.isfinite().all())
    step = mask.producer
    if step is not None and step.op in ("Cast", "Expand", "Reshape", "Unsqueeze"):
        return _is_finite(step.inputs[0])
    return (
        step is not None
        and step.op == "Where"
        and all(choice.known and _is_finite(choice) for choice in step.inputs[1:])
    )


def _scores(value: Value, users: dict[Value, list[Step]]) -> _Scores | None:
    """What softmax is of, read backwards; None where anything but scores, scales and masks is in it or reads it."""
    found = _Scores(value, value, shape=value.shape)
    while True:
        step = value.producer
        if step is None or _single(users, value) is None:
            return None
        if step.op == "MatMul":
            found.q, found.k_transposed = step.inputs
            return found
        if step.op in ("Mul", "Div"):
            number = _number(step.inputs[1])
            if number is None:
                return None
            found.scale = found.scale * number if step.op == "Mul" else found.scale / number
            value = step.inputs[0]
        elif step.op == "Add":
            product, mask = _addends(step)
            if product is None or found.scale != 1.0:  # (scores + mask) · scale is not the kernel's
                return None
            found.masks.append(mask)
            found.shape = step.outputs[0].shape
            value = product
        elif step.op == "Where" and found.scale == 1.0 and (choice := _replacing_mask(step)) is not None:
            value, mask = choice
            found.masks.append(mask)
            found.shape, found.replaced = step.outputs[0].shape, True
        elif step.op == "Max" and len(step.inputs) == 2 and _is_lowest(step.inputs[1]) and not found.masks:
            found.lowest = _number(step.inputs[1])
            value = step.inputs[0]
        elif step.op == "Reshape" and step.outputs[0].shape[-2:] == step.inputs[0].shape[-2:]:
            value = step.inputs[0]
        else:
            return None


def _replacing_mask(step: Step) -> tuple[Value, Value] | None:
    """The scores of Where(hidden, lowest, scores) or Where(visible, scores, lowest), and the mask to add instead."""
    condition, yes, no = step.inputs
    if not condition.known:
        return None
    hides = condition.tensor if _is_lowest(yes) else ~condition.tensor
    scores, low = (no, yes) if _is_lowest(yes) else (yes, no)
    if not _is_lowest(low) or not _comes_from_product(scores) or scores.shape != step.outputs[0].shape:
        return None
    return scores, Value(step.outputs[0].name + ".mask", torch.where(hides, float("-inf"), 0.0), True)


def _is_lowest(value: Value) -> bool:
    number = _number(value)
    return number is not None and number <= torch.finfo(torch.float16).min


def _addends(step: Step) -> tuple[Value | None, Value]:
    """The scores and the mask of an Add: scores follow from a product, up to scales and reshapes; a mask does not."""
    for scores, mask in (step.inputs, step.inputs[::-1]):
        if scores.shape == step.outputs[0].shape and _comes_from_product(scores):
            return scores, mask
    return None, step.inputs[0]


def _comes_from_product(value: Value) -> bool:
    while value.producer is not None:
        if value.producer.op == "MatMul":
            return True
        if value.producer.op not in ("Mul", "Div", "Add", "Max", "Reshape"):
            return False
        value = value.producer.inputs[0]
    return False


def _fits(softmax: Step, product: Step, scores: _Scores) -> bool:
    shape = softmax.inputs[0].shape
    q, k, v = scores.q.shape, scores.k_transposed.shape, product.inputs[1].shape
    if min(len(q), len(k), len(v)) < 3 or 0 in shape:
        return False
    batches = {math.prod(s[:-2]) for s in (q, k, v)}
    return len(batches) == 1 and batches.pop() == math.prod(shape[:-2])


def _heads(scores: _Scores, v: tuple[int, ...]) -> list[int]:
    """The dims of batch and heads to compute in, two of them as torch's kernels want: those of the masked scores, to
    which masks broadcast, or of an operand that has them apart."""
    shapes = [scores.shape, scores.q.shape, scores.k_transposed.shape, v]
    if not scores.masks:
        shapes.sort(key=lambda shape: len(shape) != 4)
    batch = list(shapes[0][:-2])
    return batch if len(batch) >= 2 else [*batch, 1]


def _rewrite(
    product: Step, scores: _Scores, kinds: dict[tuple[Value, tuple[int, ...]], str], users: dict[Value, list[Step]]
) -> None:
    shape = scores.shape
    v = product.inputs[1]
    batch = _heads(scores, v.shape)
    q, q_scale = _unscaled(scores.q, users)
    k, k_scale = _unscaled(scores.k_transposed, users)
    masks, is_causal = [], False
    for mask in scores.masks:
        kind = kinds[mask, shape]
        if kind == "causal":
            is_causal = True
        elif kind == "data":
            masks.append(mask)
    if is_causal and masks:
        masks, is_causal = scores.masks, False
    product.op = "attention"
    product.attributes = {"is_causal": is_causal, "masks": len(masks)}
    scale = scores.scale * q_scale * k_scale
    product.function = _attention(batch, shape, product.outputs[0].shape, scale, is_causal, scores.lowest)
    product.inputs = [q, k, v, *masks]


def _unscaled(value: Value, users: dict[Value, list[Step]]) -> tuple[Value, float]:
    """The operand without a scale of its own, which the kernel applies; reshapes and transposes may stand behind the
    scale."""
    views: list[Step] = []
    at = value
    while at.producer is not None and at.producer.op in ("Reshape", "Transpose") and _single(users, at) is not None:
        views.append(at.producer)
        at = at.producer.inputs[0]
    step = at.producer
    number = (
        _number(step.inputs[1]) if step is not None and step.op == "Mul" and _single(users, at) is not None else None
    )
    if step is None or number is None:
        return value, 1.0
    if views:
        views[-1].inputs = [step.inputs[0]]
        return value, number
    return step.inputs[0], number


def _kind_of_mask(mask: Value, shape: tuple[int, ...]) -> str:
    """Of an added mask: "none" if it hides nothing, "causal" if exactly what lies ahead, else "data"."""
    if not mask.known:
        return "data"
    rows, columns = shape[-2:]
    visible, hidden = mask.tensor == 0, mask.tensor <= torch.finfo(torch.bfloat16).min
    if bool(visible.all()):
        return "none"
    if rows != columns or not bool((visible | hidden).all()):
        return "data"
    causal = torch.ones(rows, columns, dtype=torch.bool, device=mask.tensor.device).tril()
    if mask.tensor.ndim < 2 or tuple(mask.shape[-2:]) != (rows, columns):
        return "data"
    return "causal" if bool((visible == causal).all()) else "data"


def _attention(
    batch: list[int],
    shape: tuple[int, ...],
    result: tuple[int, ...],
    scale: float,
    is_causal: bool,
    lowest: float | None,
) -> Callable[..., Tensor]:
    rows, columns = shape[-2:]

    def run(q: Tensor, k_transposed: Tensor, v: Tensor, *masks: Tensor) -> Tensor:
        k = k_transposed.mT
        queries = q.reshape(*batch, rows, q.shape[-1])
        keys = k.reshape(*batch, columns, k.shape[-1])
        values = v.reshape(*batch, columns, v.shape[-1])
        mask: Tensor | None = None
        for part in masks:
            mask = part if mask is None else mask + part
        if mask is not None:
            if lowest is not None:
                mask = mask.clamp(min=max(lowest, torch.finfo(mask.dtype).min))
            mask = _mask_in(mask.to(q.dtype), batch, shape)
        out = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal, scale=scale
        )
        return out.reshape(result)

    return run


def _mask_in(mask: Tensor, batch: list[int], shape: tuple[int, ...]) -> Tensor:
    if mask.ndim <= 2:
        return mask
    whole = [1] * (len(batch) + 2 - mask.ndim) + list(mask.shape)
    if len(whole) == len(batch) + 2 and all(m in (1, b) for m, b in zip(whole, [*batch, *shape[-2:]])):
        return mask.reshape(whole)
    return mask.expand(shape).reshape(*batch, *shape[-2:])
