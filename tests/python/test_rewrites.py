"""Rewrites of steps: each changes nothing but rounding, happens where it should, and not where it should not."""

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from support import model, ops, run, specialise

random = numpy.random.default_rng(404)
node = helper.make_node
BATCH, HEADS, LENGTH, WIDTH = 2, 3, 5, 4


def floats(*shape: int) -> numpy.ndarray:
    return random.standard_normal(shape).astype(numpy.float32)


def causal(low: float = -3.4028234663852886e38) -> numpy.ndarray:
    return numpy.where(numpy.tril(numpy.ones((LENGTH, LENGTH), bool)), 0, low).astype(numpy.float32)[None, None]


class Rewrites(unittest.TestCase):
    def check(
        self,
        nodes: list[NodeProto],
        inputs: dict[str, Any],
        weights: dict[str, Any],
        outputs: tuple[str, ...] = ("y",),
        **options: bool,
    ):
        """The program's steps, whose outputs are those of onnx's evaluator."""
        text = model(nodes, inputs, list(outputs), weights)
        wanted = ReferenceEvaluator(text).run(None, inputs)
        with tempfile.TemporaryDirectory() as folder:
            program = specialise(text, Path(folder), inputs, **options)
            found = run(program, inputs)
        allowed = 3e-2 if options.get("narrow") else 2e-5
        for name, array in zip(outputs, wanted):
            numpy.testing.assert_allclose(found[name], array, rtol=allowed, atol=allowed)
        return program


class Attention(Rewrites):
    inputs = {name: floats(BATCH, HEADS, LENGTH, WIDTH) for name in "qkv"}

    def scores(self, *more: NodeProto, last: str = "s") -> list[NodeProto]:
        return [
            node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
            node("MatMul", ["q", "kt"], ["s"]),
            *more,
            node("Softmax", [last], ["p"], axis=-1),
            node("MatMul", ["p", "v"], ["y"]),
        ]

    def attention(
        self, nodes: list[NodeProto], weights: dict[str, Any], outputs: tuple[str, ...] = ("y",), **more: Any
    ) -> Any:
        program = self.check(nodes, {**self.inputs, **more}, weights, outputs)
        return next((step.attributes for step in program.steps if step.op == "attention"), None)

    def test_a_known_causal_mask_is_the_kernels_own(self) -> None:
        for low in (-3.4028234663852886e38, -numpy.inf):
            nodes = self.scores(node("Mul", ["s", "c"], ["m"]), node("Add", ["m", "mask"], ["a"]), last="a")
            found = self.attention(nodes, {"c": numpy.float32(0.3), "mask": causal(low)})
            self.assertEqual(found, {"is_causal": True, "masks": 0})

    def test_a_mask_that_hides_one_more_or_less_is_not_causal(self) -> None:
        for row, column, number in ((0, 1, 0.0), (3, 1, -1e38), (3, 1, 0.5)):
            mask = causal()
            mask[0, 0, row, column] = number
            found = self.attention(self.scores(node("Add", ["mask", "s"], ["a"]), last="a"), {"mask": mask})
            self.assertEqual(found, {"is_causal": False, "masks": 1})

    def test_a_mask_that_is_data_is_added(self) -> None:
        mask = numpy.where(random.random((BATCH, 1, LENGTH, LENGTH)) < 0.5, -1e9, 0).astype(numpy.float32)
        found = self.attention(self.scores(node("Add", ["s", "mask"], ["a"]), last="a"), {}, mask=mask)
        self.assertEqual(found, {"is_causal": False, "masks": 1})

    def test_a_mask_that_hides_nothing_is_left_out(self) -> None:
        found = self.attention(self.scores(node("Add", ["s", "mask"], ["a"]), last="a"), {"mask": causal() * 0})
        self.assertEqual(found, {"is_causal": False, "masks": 0})

    def test_a_mask_that_replaces_is_recognised_where_it_is_causal(self) -> None:
        hides = causal() < 0
        weights = {"hides": hides, "low": numpy.float32(-1e9)}
        self.assertEqual(
            self.attention(self.scores(node("Where", ["hides", "low", "s"], ["a"]), last="a"), weights),
            {"is_causal": True, "masks": 0},
        )
        weights["hides"][..., 3, :] = True  # a row that sees nothing: all are equal there, and not a number
        self.assertIsNone(self.attention(self.scores(node("Where", ["hides", "low", "s"], ["a"]), last="a"), weights))

    def test_scales_before_the_product_are_the_kernels(self) -> None:
        nodes = [
            node("Mul", ["q", "c"], ["qc"]),
            node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
            node("Mul", ["kt", "c"], ["ktc"]),
            node("MatMul", ["qc", "ktc"], ["s"]),
            node("Softmax", ["s"], ["p"], axis=-1),
            node("MatMul", ["p", "v"], ["y"]),
        ]
        program = self.check(nodes, self.inputs, {"c": numpy.float32(0.7)})
        self.assertEqual(ops(program), ["Transpose", "attention"])

    def test_merged_heads_meet_a_mask_with_dims_of_their_own(self) -> None:
        merged = [BATCH * HEADS, LENGTH, WIDTH]
        nodes = [
            *[node("Reshape", [x, "merged"], [x + "m"]) for x in "qkv"],
            node("Transpose", ["km"], ["kt"], perm=[0, 2, 1]),
            node("MatMul", ["qm", "kt"], ["s"]),
            node("Reshape", ["s", "apart"], ["sa"]),
            node("Add", ["sa", "mask"], ["a"]),
            node("Max", ["a", "lowest"], ["x"]),
            node("Reshape", ["x", "again"], ["xm"]),
            node("Softmax", ["xm"], ["p"], axis=2),
            node("MatMul", ["p", "vm"], ["y"]),
        ]
        mask = numpy.zeros((BATCH, 1, LENGTH, LENGTH), numpy.float32)
        mask[0, 0, 2, :] = -3.4028234663852886e38  # sees nothing: then all alike, says the clamp
        weights = {
            "merged": numpy.array(merged, numpy.int64),
            "apart": numpy.array([BATCH, HEADS, LENGTH, LENGTH], numpy.int64),
            "again": numpy.array([BATCH * HEADS, LENGTH, LENGTH], numpy.int64),
            "lowest": numpy.float32(-3.4028234663852886e38),
        }
        self.assertEqual(self.attention(nodes, weights, mask=mask), {"is_causal": False, "masks": 1})

    def test_what_is_not_a_number_may_be_replaced_by_0(self) -> None:
        guard = [node("IsNaN", ["p"], ["n"]), node("Where", ["n", "zero", "p"], ["g"])]
        nodes = self.scores(node("Add", ["s", "mask"], ["a"]), last="a")
        nodes[-1:] = [*guard, node("MatMul", ["g", "v"], ["y"])]
        self.assertEqual(
            self.attention(nodes, {"mask": causal(-numpy.inf), "zero": numpy.float32(0)}),
            {"is_causal": True, "masks": 0},
        )
        mask = causal(-numpy.inf)
        mask[0, 0, 2] = -numpy.inf
        self.assertIsNone(self.attention(nodes, {"zero": numpy.float32(0)}, mask=mask))

    def test_what_someone_else_reads_is_not_rewritten(self) -> None:
        self.assertIsNone(self.attention(self.scores(), {}, ("y", "p")))
        self.assertIsNone(self.attention(self.scores(), {}, ("y", "s")))

    def test_other_softmaxes_stay(self) -> None:
        nodes = self.scores()
        nodes[2] = node("Softmax", ["s"], ["p"], axis=1)
        self.assertIsNone(self.attention(nodes, {}))
        nodes = self.scores(node("Add", ["s", "mask"], ["a"]), node("Mul", ["a", "c"], ["m"]), last="m")
        self.assertIsNone(self.attention(nodes, {"mask": causal(-2.0), "c": numpy.float32(0.5)}))


class Products(Rewrites):
    def test_bias_and_relu_join_their_product(self) -> None:
        nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"], ["a"]), node("Relu", ["a"], ["y"])]
        program = self.check(nodes, {"x": floats(2, 3, 4)}, {"w": floats(4, 5), "b": floats(5)})
        self.assertEqual(ops(program), ["linear"])

    def test_a_bias_that_is_no_row_stays(self) -> None:
        nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"])]
        for bias in (floats(3, 5), floats(1), floats(3, 1)):
            self.assertEqual(
                ops(self.check(nodes, {"x": floats(2, 3, 4)}, {"w": floats(4, 5), "b": bias})), ["MatMul", "Add"]
            )

    def test_a_product_that_is_an_output_keeps_its_bias_apart(self) -> None:
        nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"])]
        program = self.check(nodes, {"x": floats(3, 4)}, {"w": floats(4, 5), "b": floats(5)}, ("y", "p"))
        self.assertEqual(ops(program), ["MatMul", "Add"])

    def test_products_of_one_operand_become_one(self) -> None:
        for transposed in (False, True):
            nodes, weights = [], {}
            for name, width in (("q", 5), ("k", 3), ("v", 1)):
                weights |= {name + "w": floats(width, 4) if transposed else floats(4, width), name + "b": floats(width)}
                nodes += [node("Transpose", [name + "w"], [name + "t"])] if transposed else []
                nodes += [
                    node("MatMul", ["x", name + ("t" if transposed else "w")], [name + "p"]),
                    node("Add", [name + "p", name + "b"], [name]),
                ]
            program = self.check(nodes, {"x": floats(2, 3, 4)}, weights, ("q", "k", "v"))
            self.assertEqual(ops(program), ["linear", "part", "part", "part"])

    def test_a_residual_sum_and_its_norm_are_one_step(self) -> None:
        nodes = [
            node("Relu", ["x"], ["r"]),
            node("Add", ["b", "r"], ["a"]),
            node("Add", ["h", "a"], ["t"]),
            node("Reshape", ["t", "rows"], ["f"]),
            node("LayerNormalization", ["f", "scale", "shift"], ["y"], epsilon=1e-3),
        ]
        weights = {"b": floats(4), "scale": floats(4), "shift": floats(4), "rows": numpy.array([6, 4], numpy.int64)}
        program = self.check(nodes, {"x": floats(2, 3, 4), "h": floats(2, 3, 4)}, weights, ("y", "t"))
        self.assertEqual(ops(program), ["Relu", "add_norm"])
        nodes[3] = node("Reshape", ["t", "other"], ["f"])
        weights |= {"other": numpy.array([12, 2], numpy.int64), "scale": floats(2), "shift": floats(2)}
        self.assertIn(
            "LayerNormalization",
            ops(self.check(nodes, {"x": floats(2, 3, 4), "h": floats(2, 3, 4)}, weights, ("y", "t"))),
        )

    def test_products_that_the_graph_widens_take_bfloat16_and_give_float32(self) -> None:
        nodes = [
            node("Cast", ["x"], ["xb"], to=16),
            node("Cast", ["xb"], ["xw"], to=1),
            node("Transpose", ["xw"], ["xt"], perm=[1, 0]),
            node("Cast", ["w"], ["wb"], to=16),
            node("Cast", ["wb"], ["ww"], to=1),
            node("MatMul", ["xt", "ww"], ["y"]),
        ]
        program = self.check(nodes, {"x": floats(4, 3), "w": floats(4, 5)}, {})
        self.assertEqual(ops(program), ["Cast", "Cast", "Transpose", "wide_matmul"])


class Narrow(Rewrites):
    def test_what_meets_bfloat16_follows_it_and_nothing_else_does(self) -> None:
        import torch

        nodes = [
            node("MatMul", ["x", "w"], ["p"]),
            node("Cos", ["angle"], ["c"]),
            node("Mul", ["p", "c"], ["y"]),
            node("Identity", ["c"], ["z"]),
        ]
        text = model(nodes, {"x": floats(3, 4), "angle": floats(3, 5)}, ["y", "z"], {"w": floats(4, 5)})
        with tempfile.TemporaryDirectory() as folder:
            import onnx
            from opt_partition.torch.collectives import Groups
            from opt_partition.torch.graph import read_graph, read_weight
            from opt_partition.torch.program import Options, Specialiser

            onnx.save(text, folder + "/m.onnx")
            graph = read_graph(Path(folder) / "m.onnx")
            weights = {"w": read_weight(graph, graph.weights["w"]).to(torch.bfloat16)}  # type: ignore[union-attr]
            inputs = {"x": torch.zeros(3, 4, device="meta"), "angle": torch.zeros(3, 5, device="meta")}
            program = Specialiser(graph, weights, Groups([], 0, True), Options(torch.device("cpu"), True)).run(
                inputs, {}
            )
        self.assertEqual([program.outputs[name].dtype for name in "yz"], [torch.bfloat16, torch.float32])

    def test_the_lowest_number_stays_finite_and_infinity_one(self) -> None:
        import torch
        from opt_partition.torch.program import narrow

        found = narrow(torch.tensor([-3.4028234663852886e38, float("-inf"), 1.0]))
        self.assertEqual([bool(x) for x in found.isfinite()], [True, False, True])


if __name__ == "__main__":
    unittest.main()
