"""The four collectives of docs/collectives.md over torch.distributed, for uneven chunks too.

Where the order of additions can be kept (`ordered`, the default without NCCL), contributions are added in the order
of the group, so all ranks agree bit for bit with opt-partition's own runtime. NCCL adds in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

from ..errors import OptPartitionError
from .graph import OWN_DOMAIN, Node


def chunk(n: int, k: int, i: int) -> tuple[int, int]:
    """Start and size of member i's chunk of n elements over k members: the first n mod k have one more."""
    q, m = divmod(n, k)
    return i * q + min(i, m), q + (i < m)


@dataclass(frozen=True)
class Group:
    """Ranks that meet; `handle` is torch.distributed's, None where there is one member only."""

    ranks: tuple[int, ...]
    position: int
    handle: distributed.ProcessGroup | None

    @property
    def size(self) -> int:
        return len(self.ranks)


@dataclass(frozen=True)
class Pending:
    """A meeting that has begun: `finish` waits for it, on the device if there is one, and gives the result."""

    finish: Callable[[], Tensor]


def finished(result: Tensor | Pending) -> Tensor:
    return result.finish() if isinstance(result, Pending) else result


class Groups:
    """All groups of a plan. Every process makes all of them, in one order: torch.distributed asks for that."""

    def __init__(self, groups: Sequence[tuple[int, ...]], rank: int, ordered: bool) -> None:
        self.rank = rank
        self.ordered = ordered
        self.known: dict[tuple[int, ...], Group] = {}
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        for ranks in groups:
            handle = None
            if len(ranks) > 1:
                whole = ranks == tuple(range(world))
                # Members' positions are the plan's: torch would sort a group's ranks.
                made: Any = distributed.group.WORLD if whole else distributed.new_group(list(ranks))
                handle = made
            if rank in ranks:
                self.known[ranks] = Group(ranks, ranks.index(rank), handle)

    def of(self, node: Node) -> Group:
        ranks = tuple(node.attributes["group"])
        if ranks not in self.known:
            if len(ranks) == 1:
                return Group(ranks, 0, None)
            raise OptPartitionError(
                "a group that the plan does not list",
                code="bad-plan/group",
                node=node.attributes["id"],
                op=node.op,
                found=ranks,
            )
        return self.known[ranks]


Meeting = Tensor | Pending


def _gather_equal(x: Tensor, group: Group, then: Callable[[list[Tensor]], Tensor]) -> Pending:
    """`then` of everyone's tensors, all of one shape, in the order of the group."""
    flat = x.contiguous().reshape(-1)
    if flat.dtype in (torch.bool, torch.bfloat16, torch.float16):
        flat = flat.view(torch.uint8)  # what the bytes mean is no matter to a gather, and gloo does not know all types
    out = torch.empty(group.size * flat.numel(), dtype=flat.dtype, device=x.device)
    work: Any = distributed.all_gather_into_tensor(out, flat, group=group.handle, async_op=True)
    order = sorted(group.ranks)  # torch's order is by rank

    def finish() -> Tensor:
        work.wait()
        parts = out.view(x.dtype).reshape(group.size, *x.shape)
        return then([parts[order.index(rank)] for rank in group.ranks])

    return Pending(finish)


_STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"sum": torch.add, "max": torch.maximum, "min": torch.minimum}
_NATIVE = {"sum": distributed.ReduceOp.SUM, "max": distributed.ReduceOp.MAX, "min": distributed.ReduceOp.MIN}


def all_reduce(x: Tensor, group: Group, reduce: str, ordered: bool, in_place: bool = False) -> Meeting:
    """`in_place`: nobody reads x after this."""
    if group.size == 1:
        return x
    # torch promises of max and min nothing for a NaN, so they take the ordered way; they are small (one number a row).
    if ordered or (reduce != "sum" and x.dtype.is_floating_point):
        return _gather_equal(x, group, lambda parts: _ordered_reduction(parts, reduce))
    total = x if in_place and x.is_contiguous() else x.clone(memory_format=torch.contiguous_format)
    work: Any = distributed.all_reduce(total, _NATIVE[reduce], group=group.handle, async_op=True)

    def finish() -> Tensor:
        work.wait()
        return total

    return Pending(finish)


def _ordered_reduction(parts: Sequence[Tensor], reduce: str) -> Tensor:
    dtype = parts[0].dtype
    wide = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    total = parts[0].to(wide)
    for part in parts[1:]:
        total = _STEPS[reduce](total, part.to(wide))
    return total.to(dtype)


def all_gather(x: Tensor, group: Group, axis: int, total: int) -> Meeting:
    if group.size == 1:
        return x
    chunks = [chunk(total, group.size, i) for i in range(group.size)]
    _expect(x, axis, chunks[group.position][1], "AllGather")
    largest = chunks[0][1]
    if x.shape[axis] < largest:  # the wire's chunks are equal; what is filled up is not copied out
        padded = x.new_empty([*x.shape[:axis], largest, *x.shape[axis + 1 :]])
        padded.narrow(axis, 0, x.shape[axis]).copy_(x)
        x = padded
    return _gather_equal(
        x, group, lambda parts: torch.cat([part.narrow(axis, 0, size) for part, (_, size) in zip(parts, chunks)], axis)
    )


def reduce_scatter(x: Tensor, group: Group, reduce: str, axis: int, total: int, ordered: bool) -> Meeting:
    if group.size == 1:
        return x
    _expect(x, axis, total, "ReduceScatter")
    start, size = chunk(total, group.size, group.position)
    if not ordered and total % group.size == 0 and reduce == "sum" and group.ranks == tuple(sorted(group.ranks)):
        chunks = x.movedim(axis, 0).contiguous()
        out = chunks.new_empty([size, *chunks.shape[1:]])
        distributed.reduce_scatter_tensor(out, chunks, group=group.handle)
        return out.movedim(0, axis)
    return finished(all_reduce(x, group, reduce, ordered)).narrow(axis, start, size)


def all_to_all(x: Tensor, group: Group, split_axis: int, concat_axis: int, total: int) -> Tensor:
    if group.size == 1:
        return x
    _expect(x, concat_axis, chunk(total, group.size, group.position)[1], "AllToAll")
    order = sorted(range(group.size), key=lambda i: group.ranks[i])  # torch's order is by rank
    mine = chunk(x.shape[split_axis], group.size, group.position)[1]
    pieces = [x.narrow(split_axis, *chunk(x.shape[split_axis], group.size, i)).contiguous().reshape(-1) for i in order]
    shapes = []
    for i in order:
        shape = list(x.shape)
        shape[split_axis], shape[concat_axis] = mine, chunk(total, group.size, i)[1]
        shapes.append(shape)
    # As bytes: gloo does not know all types.
    sent = torch.cat(pieces).view(torch.uint8)
    sizes = [torch.Size(shape).numel() * x.dtype.itemsize for shape in shapes]
    got = torch.empty(sum(sizes), dtype=torch.uint8, device=x.device)
    distributed.all_to_all_single(
        got, sent, sizes, [piece.numel() * x.dtype.itemsize for piece in pieces], group=group.handle
    )
    parts = [part.view(x.dtype).reshape(shape) for part, shape in zip(got.split(sizes), shapes)]
    return torch.cat([parts[order.index(i)] for i in range(group.size)], concat_axis)


def _expect(x: Tensor, axis: int, extent: int, op: str) -> None:
    if x.shape[axis] != extent:
        raise OptPartitionError(
            f"extent of dim {axis} is not this rank's chunk",
            code="bad-graph/chunk",
            op=op,
            expected=extent,
            found=x.shape[axis],
        )


def is_collective(op: str) -> bool:
    return op.startswith(OWN_DOMAIN + ".")


def make_collective(
    node: Node, total: int | None, ndim: int, groups: Groups, in_place: bool = False
) -> Callable[[Tensor], Meeting]:
    """The node as a function of its input. `total` is that of the attribute or of input 1."""
    group = groups.of(node)
    ordered = groups.ordered
    kind = node.op.removeprefix(OWN_DOMAIN + ".")
    reduce = node.get("reduce", "sum")
    axis = node.get("axis", 0) % max(ndim, 1)
    if kind == "AllReduce":
        return lambda x: all_reduce(x, group, reduce, ordered, in_place)
    if total is None:
        raise OptPartitionError(
            "neither an attribute nor an input says the total",
            code="bad-graph/total",
            node=node.attributes["id"],
            op=node.op,
        )
    if kind == "AllGather":
        return lambda x: all_gather(x, group, axis, total)
    if kind == "ReduceScatter":
        return lambda x: reduce_scatter(x, group, reduce, axis, total, ordered)
    if kind == "AllToAll":
        split_axis, concat_axis = node.attributes["split_axis"] % ndim, node.attributes["concat_axis"] % ndim
        return lambda x: all_to_all(x, group, split_axis, concat_axis, total)
    raise OptPartitionError(
        "a collective that this reader does not know",
        code="bad-graph/unsupported",
        node=node.attributes["id"],
        op=node.op,
    )


def result_shape(node: Node, shape: Sequence[int], total: int | None, groups: Groups) -> list[int]:
    """The result's shape, without meeting anyone."""
    group = groups.of(node)
    out = list(shape)
    kind = node.op.removeprefix(OWN_DOMAIN + ".")
    if kind == "AllGather":
        out[node.attributes["axis"]] = int(total or 0)
    elif kind == "ReduceScatter":
        out[node.attributes["axis"]] = chunk(int(total or 0), group.size, group.position)[1]
    elif kind == "AllToAll":
        out[node.attributes["split_axis"]] = chunk(shape[node.attributes["split_axis"]], group.size, group.position)[1]
        out[node.attributes["concat_axis"]] = int(total or 0)
    return out
