"""Each operator against onnx's own reference evaluator."""

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy
from onnx import helper
from onnx.reference import ReferenceEvaluator
from opt_partition.errors import OptPartitionError
from opt_partition.torch.operators import OPERATORS

from support import model, run, specialise

random = numpy.random.default_rng(404)


def floats(*shape: int) -> numpy.ndarray:
    return random.standard_normal(shape).astype(numpy.float32)


def ints(low: int, high: int, *shape: int) -> numpy.ndarray:
    return random.integers(low, high, shape).astype(numpy.int64)


def numbers(*values: int) -> numpy.ndarray:
    return numpy.array(values, numpy.int64)


X = floats(2, 3, 4)
BOOLS = X > 0

UNARY = "Abs Ceil Cos Erf Exp Floor Identity IsNaN Neg Reciprocal Relu Round Sigmoid Sign Sin Tanh".split()
BINARY = "Add Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Sub".split()

# Operator, operands (a plain array is data; one in a list is an initializer; None is absent), attributes.
Case = tuple[str, list[Any], dict[str, Any]]
CASES: list[Case] = [
    *[(op, [X], {}) for op in UNARY],
    *[(op, [X, floats(3, 1)], {}) for op in BINARY],
    *[(op, [BOOLS, floats(3, 4) > 0], {}) for op in ("And", "Or", "Xor")],
    ("Not", [BOOLS], {}),
    ("Log", [abs(X)], {}),
    ("Sqrt", [abs(X)], {}),
    ("Pow", [abs(X), [numpy.float32(2)]], {}),
    ("Pow", [abs(X), [numpy.array(3, numpy.int64)]], {}),
    ("Div", [ints(-9, 9, 5), numbers(2, 3, -2, -4, 5)], {}),
    ("Mod", [ints(-9, 9, 5), numbers(2, 3, -2, -4, 5)], {}),
    ("Mod", [floats(5), floats(5)], {"fmod": 1}),
    ("Max", [X, floats(4), floats(3, 1)], {}),
    ("IsInf", [numpy.array([1, numpy.inf, -numpy.inf], numpy.float32)], {}),
    ("IsInf", [numpy.array([1, numpy.inf, -numpy.inf], numpy.float32)], {"detect_negative": 0}),
    ("Round", [numpy.array([0.5, 1.5, 2.5, -0.5], numpy.float32)], {}),
    ("Where", [BOOLS, X, floats(4)], {}),
    ("Cast", [X], {"to": 7}),
    ("Cast", [X], {"to": 9}),
    ("Cast", [BOOLS], {"to": 1}),
    ("Clip", [X, [numpy.float32(-0.5)], [numpy.float32(0.5)]], {}),
    ("Clip", [X, None, [numpy.float32(0.5)]], {}),
    ("Clip", [X, [numpy.float32(0.5)]], {}),
    ("Softmax", [X], {"axis": 1}),
    ("Softmax", [X], {}),
    ("LayerNormalization", [X, [floats(4)], [floats(4)]], {"epsilon": 1e-3}),
    ("LayerNormalization", [X, [floats(3, 4)]], {"axis": 1}),
    ("MatMul", [X, floats(2, 4, 5)], {}),
    ("MatMul", [X, floats(4, 5)], {}),
    ("MatMul", [X, floats(4)], {}),
    ("Einsum", [X, floats(5, 4)], {"equation": "abc,dc->bad"}),
    ("Shape", [X], {"start": 1}),
    ("Shape", [X], {"start": -2, "end": -1}),
    ("Reshape", [X, [numbers(0, -1)]], {}),
    ("Reshape", [floats(0, 4), [numbers(0, 2, 2)]], {"allowzero": 1}),
    ("Transpose", [X], {"perm": [2, 0, 1]}),
    ("Transpose", [X], {}),
    ("Squeeze", [floats(1, 3, 1), [numbers(-1)]], {}),
    ("Squeeze", [floats(1, 3, 1)], {}),
    ("Unsqueeze", [X, [numbers(-1, 0)]], {}),
    ("Expand", [floats(3, 1), [numbers(2, 1, 4)]], {}),
    ("Expand", [X, [numbers(1)]], {}),
    ("Concat", [X, floats(2, 1, 4)], {"axis": -2}),
    ("Slice", [X, [numbers(1)], [numbers(9223372036854775807)], [numbers(2)]], {}),
    ("Slice", [X, [numbers(-3, 0)], [numbers(-1, 1)], [numbers(-1, 0)], [numbers(2, 1)]], {}),
    ("Slice", [X, [numbers(-1)], [numbers(-9223372036854775807)], [numbers(2)], [numbers(-2)]], {}),
    ("Slice", [X, [numbers(3)], [numbers(0)], [numbers(-1)], [numbers(-1)]], {}),
    ("Slice", [X, [numbers(3)], [numbers(2)], [numbers(2)]], {}),
    ("Pad", [X, [numbers(0, 1, 2, 1, 0, 0)]], {}),
    ("Pad", [X, [numbers(0, 1, 2, 1, 0, 1)], [numpy.float32(7)]], {}),
    ("Gather", [X, ints(-3, 3, 2, 2)], {"axis": 1}),
    ("Gather", [X, [numpy.array(-1, numpy.int64)]], {"axis": 2}),
    ("GatherElements", [X, ints(-4, 4, 2, 3, 2)], {"axis": 2}),
    ("ScatterElements", [floats(3, 4), numpy.array([[0, -1], [1, 2], [3, 0]], numpy.int64), floats(3, 2)], {"axis": 1}),
    ("ScatterElements", [floats(3, 4), ints(-4, 4, 3, 6), floats(3, 6)], {"axis": 1, "reduction": "add"}),
    ("ScatterND", [floats(4, 5), numpy.array([[0], [-2]], numpy.int64), floats(2, 5)], {}),
    ("ScatterND", [floats(4, 5), numpy.array([[0, 1], [2, 3], [0, 1]], numpy.int64), floats(3)], {"reduction": "add"}),
    ("CumSum", [X, [numpy.array(1, numpy.int64)]], {}),
    ("CumSum", [X, [numpy.array(-1, numpy.int64)]], {"exclusive": 1, "reverse": 1}),
    ("CumSum", [ints(0, 5, 2, 3), [numpy.array(1, numpy.int64)]], {"reverse": 1}),
    ("Range", [[numpy.array(2, numpy.int64)], [numpy.array(9, numpy.int64)], [numpy.array(3, numpy.int64)]], {}),
    ("Range", [[numpy.float32(1)], [numpy.float32(2)], [numpy.float32(0.25)]], {}),
    ("TopK", [X, [numbers(2)]], {"axis": -1}),
    ("TopK", [X, [numbers(1)]], {"axis": 1, "largest": 0}),
    ("ReduceSum", [X, [numbers(0, -1)]], {"keepdims": 0}),
    ("ReduceSum", [X], {}),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    *[(op, [X], {"axes": [1, 2], "keepdims": 1}) for op in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")],
    ("ReduceMax", [X], {"keepdims": 0}),
]  # fmt: skip


class Operators(unittest.TestCase):
    def build(self, op: str, operands: list[Any], attributes: dict[str, Any]):
        inputs: dict[str, numpy.ndarray] = {}
        weights: dict[str, numpy.ndarray] = {}
        names = []
        for i, operand in enumerate(operands):
            names.append("" if operand is None else f"x{i}")
            if operand is not None:
                (weights if isinstance(operand, list) else inputs)[f"x{i}"] = numpy.asarray(
                    operand[0] if isinstance(operand, list) else operand
                )
        outputs = ["y", "z"] if op == "TopK" else ["y"]
        return model([helper.make_node(op, names, outputs, **attributes)], inputs, outputs, weights), inputs

    def test_each_is_what_onnx_says(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for op, operands, attributes in CASES:
                with self.subTest(f"{op} {attributes}"):
                    text, inputs = self.build(op, operands, attributes)
                    expected = ReferenceEvaluator(text).run(None, inputs)
                    found = run(specialise(text, Path(folder), inputs), inputs)
                    for array, wanted in zip(found.values(), expected):
                        self.assertEqual(array.dtype, numpy.asarray(wanted).dtype)
                        numpy.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6)

    def test_each_has_a_case(self) -> None:
        self.assertEqual(set(OPERATORS) - {op for op, _, _ in CASES}, set())

    def test_a_reduction_of_nothing_gives_the_identity(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for op, identity in (
                ("ReduceMax", -numpy.inf),
                ("ReduceMin", numpy.inf),
                ("ReduceSum", 0),
                ("ReduceProd", 1),
            ):
                axes = [numbers(1)] if op == "ReduceSum" else None
                text, inputs = self.build(op, [floats(2, 0), *([axes] if axes else [])], {} if axes else {"axes": [1]})
                self.assertEqual(
                    run(specialise(text, Path(folder), inputs), inputs)["y"].tolist(), [[identity], [identity]]
                )

    def test_a_negative_pad_cuts(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            text, inputs = self.build("Pad", [X, [numbers(0, -1, 2, 1, 0, -1)], [numpy.float32(7)]], {})
            cut = X[:, 1:, :3]
            wanted = numpy.pad(cut, [(0, 1), (0, 0), (2, 0)], constant_values=7)
            numpy.testing.assert_array_equal(run(specialise(text, Path(folder), inputs), inputs)["y"], wanted)

    def test_an_unknown_operator_is_named(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            self.assertRaisesRegex(OptPartitionError, r"node 'y' \(Det\)") as caught,
        ):
            specialise(*self.swap(self.build("Det", [floats(2, 2)], {}), Path(folder)))
        self.assertEqual(caught.exception.op, "Det")
        self.assertIn("model.onnx", str(caught.exception.file))

    def test_a_shape_that_depends_on_data_is_named(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            self.assertRaisesRegex(OptPartitionError, "depends on data") as caught,
        ):
            specialise(*self.swap(self.build("Reshape", [X, numbers(24)], {}), Path(folder)))
        self.assertEqual(caught.exception.tensor, "x1")

    def test_operands_that_do_not_fit_are_named_with_their_shapes(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            self.assertRaisesRegex(OptPartitionError, r"\(MatMul\).*\[2, 3, 4\].*\[5, 4\]"),
        ):
            specialise(*self.swap(self.build("MatMul", [X, floats(5, 4)], {}), Path(folder)))

    @staticmethod
    def swap(built: tuple, folder: Path) -> tuple:
        return built[0], folder, built[1]


if __name__ == "__main__":
    unittest.main()
