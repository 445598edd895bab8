"""Errors of the program as exceptions."""

import pickle
import unittest
from collections.abc import Callable

import numpy
import opt_partition
from opt_partition import (
    CheckFailed,
    InputError,
    NotFound,
    OptPartitionError,
    UsageError,
    WriteError,
)
from support import InFolder


class Errors(InFolder):
    def expect(self, call: Callable[[], object], kind: type[OptPartitionError], code: str, **parts: object) -> None:
        with self.subTest(code), self.assertRaises(kind) as caught:
            call()
        self.assertEqual(caught.exception.code, code)
        self.assertEqual({name: getattr(caught.exception, name) for name in parts}, parts)
        self.assertFalse((self.folder / "out").exists())

    def test_errors_of_planning_have_their_class_and_their_parts(self) -> None:
        (self.folder / "bad.onnx").write_text("no model")
        (self.folder / "full").mkdir()
        (self.folder / "full" / "theirs").write_text("x")
        (self.folder / "shardings.txt").write_text("# a file of constraints\nembed_tokens.weight [tensor\n")

        def partition(model: str, output: str = "out", **flags: object) -> Callable[[], object]:
            return lambda: opt_partition.partition(model, output=output, **flags)

        self.expect(partition("nothing.onnx"), NotFound, "not-found/file", exit=66, file="nothing.onnx")
        self.expect(partition("bad.onnx"), InputError, "bad-input/not-this-format", exit=65, file="bad.onnx")
        self.expect(partition("m.onnx", "full"), WriteError, "cannot-write/occupied", exit=73, file="full")
        unknown = {"exit": 2, "flag": "--devises", "way_out": "--devices"}
        self.expect(partition("m.onnx", devises=2), UsageError, "usage/unknown-flag", **unknown)
        place = {"exit": 2, "file": "shardings.txt", "line": 2}
        self.expect(partition("m.onnx", sharding="shardings.txt"), UsageError, "usage/bad-value", **place)

    def test_errors_of_runs_have_their_class_and_their_parts(self) -> None:
        plan = opt_partition.partition("m.onnx", output="plan")
        wrong = {"input_ids": numpy.ones((1, 3), numpy.float32), "attention_mask": "ones"}
        parts = {"exit": 65, "tensor": "input_ids", "expected": "int64", "found": "float32", "node": None}
        self.expect(lambda: plan.run(wrong), InputError, "bad-input/dtype-mismatch", **parts)
        half = {"batch": 1}
        open_dim = {"exit": 2, "dim": "sequence"}
        self.expect(lambda: opt_partition.bench("m.onnx", dim=half), UsageError, "usage/dim-without-value", **open_dim)
        too_small = "check-failed/does-not-fit"
        self.expect(lambda: opt_partition.inspect("m.onnx", fit="1kB"), CheckFailed, too_small, exit=1)

    def test_what_a_check_compared_comes_with_its_failure(self) -> None:
        with self.assertRaises(CheckFailed) as caught:
            opt_partition.check("m.onnx", devices=2, mutant="drop-all-reduce")
        error = caught.exception
        self.assertEqual(error.code, "check-failed/difference")
        self.assertNotEqual(error.expected, error.found)
        self.assertIsNotNone(error.report)
        self.assertIn(False, [row.holds for row in error.report.comparisons])
        self.assertIn("meaning", error.output)  # the table for people

    def test_errors_survive_being_sent_to_another_process(self) -> None:
        for error in (
            OptPartitionError.from_json({"message": "m.onnx: bad", "code": "bad-input/cycle", "exit": 65, "file": "f"}),
            OptPartitionError("bad", code="not-found/file", exit=66, file="f", hint="look elsewhere"),
        ):
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual(
                (type(again), str(again), again.code, again.exit, again.parts),
                (type(error), str(error), error.code, error.exit, error.parts),
            )

    def test_a_failed_import_of_tokenizers_or_file_says_what_to_do(self) -> None:
        with self.assertRaises(NotFound) as caught:
            opt_partition.generate("m.onnx", "once upon a time")
        self.assertIn("tokenizer=", caught.exception.way_out or "")


if __name__ == "__main__":
    unittest.main()
