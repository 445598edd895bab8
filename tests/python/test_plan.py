"""Extents, dims and the cutting of arrays."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy
from opt_partition.errors import OptPartitionError
from opt_partition.extents import evaluate, is_name
from opt_partition.plan import read_plan


class Extents(unittest.TestCase):
    def test_an_extent_is_what_its_grammar_says(self) -> None:
        dims = {"batch": 3, "past": 5, "sequence": 7, "batch-size": 11, "a b": 13, "x'y": 17}
        for text, number in (
            (768, 768),
            ("batch", 3),
            ("past + sequence", 12),
            ("sequence - past", 2),
            ("4*batch*sequence", 84),
            ("floor(batch + 1, 2)", 2),
            ("floor(-batch, 2)", -2),
            ("batch-size", 11),
            ("batch - -2", 5),
            ("12*floor(batch + 1, 2) + 6", 30),
            ("min(batch, past)*max(batch, past)", 15),
            ("2*(batch + past)", 16),
            ("'a b' + 1", 14),
            (r"'x\'y'", 17),
            (r"'a\x20b'", 13),
            ("batch - past - 1", -3),
        ):
            with self.subTest(text):
                self.assertEqual(evaluate(text, dims), number)

    def test_what_is_no_extent_is_an_error(self) -> None:
        for text in ("", "batch +", "batch + + 1", "(batch", "floor(batch)", "batch batch", "1 2", "batch+1", "?"):
            with self.subTest(text), self.assertRaises(OptPartitionError):
                evaluate(text, {"batch": 1})

    def test_a_dim_without_a_value_is_named(self) -> None:
        with self.assertRaisesRegex(KeyError, "past"):
            evaluate("past + 1", {})

    def test_only_a_name_alone_is_a_name(self) -> None:
        self.assertEqual([is_name(t) for t in ("batch", "'a b'", "batch + 1", 3)], ["batch", "a b", None, None])


def plan_of(inputs: list[dict], layouts: list[dict], **more: object) -> dict:
    lists = ("guards", "outputs", "parameters", "constants", "updates", "collectives", "devices")
    head = {"format": "opt-partition plan", "version": 2, "mesh": {"devices": 2}, "job": "inference", "dims": {}}
    return {**head, **{name: [] for name in lists}, "layouts": layouts, "inputs": inputs, **more}


class Plans(unittest.TestCase):
    def read(self, text: dict):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "plan.json").write_text(json.dumps(text))
        return read_plan(folder.name)

    def one_input(self, shape: list, **more: object):
        layout = {"shards": [{"ranks": [0, 1], "shape": shape, "ranges": [[[0, extent]] for extent in shape]}]}
        return self.read(
            plan_of([{"name": "x", "dtype": "float32", "role": "data", "shape": shape, "layout": 0}], [layout], **more)
        )

    def test_names_bind_before_expressions_with_one_unknown(self) -> None:
        plan = self.one_input(["past + sequence", "sequence"])
        self.assertEqual(plan.bind({"x": [12, 7]}), {"sequence": 7, "past": 5})

    def test_dims_that_disagree_are_an_error(self) -> None:
        for shape, found in ((["n", "n"], [2, 3]), (["n", 4], [2, 5]), (["2*n"], [3]), (["n"], [1, 1])):
            with self.subTest(shape), self.assertRaises(OptPartitionError):
                self.one_input(shape).bind({"x": found})

    def test_a_dim_below_its_least_and_a_guard_that_fails_are_errors(self) -> None:
        plan = self.one_input(
            ["n", "m"],
            dims={"n": {"min": 1}, "m": {"min": 0}},
            guards=[{"left": "n", "right": "m + 1", "because": "test"}],
        )
        self.assertEqual(plan.bind({"x": [1, 0]}), {"n": 1, "m": 0})
        for shape in ([0, 0], [3, 1]):
            with self.subTest(shape), self.assertRaises(OptPartitionError):
                plan.bind({"x": shape})

    def test_shards_with_repeated_intervals_come_together_again(self) -> None:
        # 6 heads of 2 cut by heads over 2 devices, in each of n rows laid out in one dim.
        shards = [{"ranks": [r], "shape": ["6*n"], "ranges": [[[6 * r, 6 * r + 6, "n", 12]]]} for r in (0, 1)]
        plan = self.read(
            plan_of(
                [{"name": "x", "dtype": "float32", "role": "data", "shape": ["12*n"], "layout": 0}],
                [{"shards": shards}],
            )
        )
        whole = numpy.arange(36.0)
        dims = plan.bind({"x": [36]})
        parts = [plan.inputs[0].local(whole, rank, dims) for rank in (0, 1)]
        self.assertEqual(parts[1].tolist(), [*range(6, 12), *range(18, 24), *range(30, 36)])
        again = numpy.zeros(36)
        for rank, part in enumerate(parts):
            plan.inputs[0].put(again, part, rank, dims)
        self.assertEqual(again.tolist(), whole.tolist())

    def test_another_version_is_refused(self) -> None:
        with self.assertRaisesRegex(OptPartitionError, "version 2, found opt-partition plan, version 1"):
            self.read(plan_of([], [], version=1))

    def test_a_folder_without_a_plan_is_an_error_with_its_parts(self) -> None:
        with self.assertRaises(OptPartitionError) as caught:
            read_plan("/nonexistent")
        self.assertEqual((caught.exception.exit, caught.exception.code), (66, "not-found/file"))
        self.assertIn("/nonexistent/plan.json", json.loads(caught.exception.to_json())["file"])


if __name__ == "__main__":
    unittest.main()
