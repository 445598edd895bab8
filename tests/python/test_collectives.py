"""Collectives on three processes, against the code that docs/collectives.md prints."""

import os
import re
import tempfile
import unittest
from itertools import product
from typing import Any

import numpy
import torch
import torch.distributed as distributed
import torch.multiprocessing
from onnx import helper
from opt_partition.errors import OptPartitionError
from opt_partition.torch.collectives import Groups, chunk, finished, make_collective, result_shape
from opt_partition.torch.graph import Node

from support import SOURCE

RANKS = 3
Meeting = tuple[str, dict[str, Any], list[int], torch.dtype]  # operator, attributes, extents of the whole value, dtype

# Extents that do not divide, that some ranks have nothing of, and that are 0; groups in another order and of two.
ALL, TURNED = [0, 1, 2], [2, 0, 1]
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def meeting(
    op: str, group: list[int], shape: list[int], dtype: torch.dtype = torch.float32, **attributes: Any
) -> Meeting:
    return op, {"group": group, **attributes}, shape, dtype


MEETINGS: list[Meeting] = [
    *[
        meeting("AllReduce", group, [4, 3], dtype, reduce=reduce)
        for reduce, group, dtype in product(("sum", "max", "min"), (ALL, TURNED), [*FLOATS, torch.int64, torch.int32])
    ],
    meeting("AllReduce", [0, 2], [5], reduce="sum"),
    meeting("AllReduce", [1], [5], reduce="sum"),
    meeting("AllReduce", ALL, [], torch.int64, reduce="sum"),
    meeting("AllReduce", ALL, [0, 3], reduce="max"),
    *[
        meeting("AllGather", group, shape, dtype, axis=axis)
        for axis, group, shape, dtype in product(
            (0, -1), (ALL, TURNED, [2, 1]), ([7, 5], [2, 1], [0, 4]), (torch.float32, torch.bool, torch.bfloat16)
        )
    ],
    *[
        meeting("ReduceScatter", group, [7, 5], dtype, reduce=reduce, axis=axis)
        for reduce, axis, group, dtype in product(("sum", "max"), (0, 1), (ALL, [1, 0]), (torch.float32, torch.int64))
    ],
    *[
        meeting("AllToAll", group, shape, dtype, split_axis=0, concat_axis=-1)
        for group, shape, dtype in product(
            (ALL, TURNED, [1, 2]), ([7, 2, 5], [1, 1, 2], [6, 0, 3]), (torch.float32, torch.bool, torch.int32)
        )
    ],
]


def documented() -> dict[str, Any]:
    """The functions of docs/collectives.md, section 6."""
    text = (SOURCE / "docs/collectives.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.search(r"## 6\..*?```python\n(.*?)```", text, re.DOTALL)[1], names)  # type: ignore[index]
    return names


def members(of: Meeting, seed: int) -> tuple[list[torch.Tensor], int | None]:
    """Each member's input, and the total."""
    op, attributes, shape, dtype = of
    generator = torch.Generator().manual_seed(seed)
    size = len(attributes["group"])

    def draw(extents: list[int]) -> torch.Tensor:
        return (torch.randn(extents, generator=generator) * 8).to(dtype)

    if op == "AllReduce":
        return [draw(shape) for _ in range(size)], None
    axis = attributes["concat_axis" if op == "AllToAll" else "axis"]
    if op == "ReduceScatter":
        return [draw(shape) for _ in range(size)], shape[axis]
    return [
        draw([chunk(shape[axis], size, i)[1] if a == axis % len(shape) else e for a, e in enumerate(shape)])
        for i in range(size)
    ], shape[axis]


def expected(of: Meeting, inputs: list[torch.Tensor], total: int | None) -> list[torch.Tensor]:
    """numpy has no bfloat16, which is what the code does to it by hand here: add in float32, round once."""
    op, attributes, _, dtype = of
    functions = documented()
    half = dtype in (torch.bfloat16, torch.float16)
    x = [(t.float() if half else t).numpy() for t in inputs]
    if op == "AllReduce":
        out = functions["all_reduce"](x, attributes["reduce"])
    elif op == "AllGather":
        out = functions["all_gather"](x, attributes["axis"], total)
    elif op == "ReduceScatter":
        out = functions["reduce_scatter"](x, attributes["reduce"], attributes["axis"], total)
    else:
        out = functions["all_to_all"](x, attributes["split_axis"], attributes["concat_axis"], total)
    return [torch.from_numpy(numpy.array(a)).to(dtype) for a in out]


def process(rank: int, file: str, results: Any) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=RANKS)
    wrong = []
    groups = Groups(sorted({tuple(m[1]["group"]) for m in MEETINGS}), rank, ordered=True)
    native = Groups([(0, 1, 2)], rank, ordered=False)
    for i, of in enumerate(MEETINGS):
        op, attributes, shape, dtype = of
        if rank not in attributes["group"]:
            continue
        inputs, total = members(of, i)
        position = attributes["group"].index(rank)
        node = Node(op, "opt_partition." + op, ("x",), ("y",), {"id": f"{i}", **attributes})
        x = inputs[position]
        wanted = expected(of, inputs, total)[position]
        found = finished(make_collective(node, total, x.ndim, groups)(x))
        if found.dtype != dtype or list(found.shape) != list(wanted.shape) or not torch.equal(found, wanted):
            wrong.append(f"{of}: {found} for {wanted}")
        if result_shape(node, list(x.shape), total, groups) != list(wanted.shape):
            wrong.append(f"{of}: shape")
        if (
            op == "AllReduce"
            and attributes["group"] == [0, 1, 2]
            and dtype == torch.float32
            and not (shape and shape[0] == 0)
        ):
            close = finished(make_collective(node, total, x.ndim, native)(x))  # the backend's own order
            if not torch.allclose(close, wanted):
                wrong.append(f"{of}: native {close} for {wanted}")
            if not torch.equal(x, inputs[position]):
                wrong.append(f"{of}: the operand was written over")
    nan = Node("n", "opt_partition.AllReduce", ("x",), ("y",), {"id": "n", "group": [0, 1, 2], "reduce": "max"})
    x = torch.tensor([float("nan") if rank == 1 else 1.0])
    for kind in (groups, native):
        if not bool(finished(make_collective(nan, None, 1, kind)(x)).isnan().all()):
            wrong.append("a NaN was lost in max")
    results[rank] = wrong
    distributed.destroy_process_group()


class Collectives(unittest.TestCase):
    def test_each_gives_what_the_page_says_to_the_bit(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            manager = torch.multiprocessing.Manager()
            results = manager.dict()
            os.environ["OMP_NUM_THREADS"] = "1"
            torch.multiprocessing.spawn(process, (f"{folder}/store", results), nprocs=RANKS)
            self.assertEqual(
                {rank: list(wrong) for rank, wrong in results.items()}, {rank: [] for rank in range(RANKS)}
            )

    def test_a_chunk_of_another_size_and_a_group_nobody_listed_are_errors(self) -> None:
        groups = Groups([], 0, ordered=True)
        node = Node("g", "opt_partition.AllGather", ("x",), ("y",), {"id": "g", "group": [0, 1], "axis": 0})
        with self.assertRaisesRegex(OptPartitionError, "does not list"):
            make_collective(node, 4, 1, groups)
        self.assertEqual(chunk(50257, 2, 0), (0, 25129))
        self.assertEqual([chunk(3, 5, i)[1] for i in range(5)], [1, 1, 1, 0, 0])

    def test_a_file_of_another_version_of_the_domain_is_refused(self) -> None:
        import onnx
        from opt_partition.torch.graph import read_graph

        text = helper.make_model(
            helper.make_graph([], "g", [], []), opset_imports=[helper.make_opsetid("opt_partition", 3)]
        )
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(text, f"{folder}/model.onnx")
            with self.assertRaisesRegex(OptPartitionError, "expected 2, found 3"):
                from pathlib import Path

                read_graph(Path(folder) / "model.onnx")


if __name__ == "__main__":
    unittest.main()
