"""Whole runs on one to three processes, against the program's own."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy

from support import must, run_ranks

SIZE = ["--layers", 2, "--hidden", 64, "--heads", 4, "--ffn", 256, "--vocab", 131]


class Runs(unittest.TestCase):
    """An OPT whose vocabulary divides by neither 2 nor 3, and whose heads do not divide by 3."""

    folder: Path
    model: Path

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        cls.model = cls.folder / "m.onnx"
        must("build", "opt-125m", *SIZE, "-o", cls.model, "--quiet")
        generator = numpy.random.default_rng(5)
        for name, hidden in (("in", 2), ("ones", 0)):
            (cls.folder / name).mkdir()
            mask = numpy.ones((2, 9), numpy.int64)
            mask[1, :hidden] = 0
            numpy.save(cls.folder / name / "input_ids.npy", generator.integers(0, 131, (2, 9)))
            numpy.save(cls.folder / name / "attention_mask.npy", mask)
            numpy.save(cls.folder / name / "labels.npy", generator.integers(0, 131, (2, 9)))
        for ranks in (1, 2, 3):
            must("partition", cls.model, "--devices", ranks, "-o", cls.folder / f"plan{ranks}", "--no-html", "--quiet")
        for name in ("in", "ones"):
            must(
                "run",
                cls.folder / "plan1",
                "--inputs-dir",
                cls.folder / name,
                "-o",
                cls.folder / f"golden-{name}",
                "--quiet",
            )

    def report(self, ranks: int, *arguments: object) -> dict:
        done = run_ranks(ranks, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_logits_are_the_programs_on_any_number_of_ranks(self) -> None:
        for ranks, name in ((1, "in"), (1, "ones"), (2, "in"), (3, "ones")):
            with self.subTest(f"{ranks} {name}"):
                plan, golden = self.folder / f"plan{ranks}", self.folder / f"golden-{name}"
                found = self.report(ranks, plan, "--inputs-dir", self.folder / name, "--golden", golden, "--time", 2)
                self.assertTrue(found["golden"]["holds"])
                self.assertEqual(found["steps"]["attention"], 2)
                self.assertEqual(len(found["each_rank"]), ranks)

    def test_outputs_are_written_whole(self) -> None:
        out = self.folder / "out"
        done = run_ranks(
            3, self.folder / "plan3", "--inputs-dir", self.folder / "in", "-o", out, "--interleave", "batch=2"
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        numpy.testing.assert_allclose(
            numpy.load(out / "logits.npy"), numpy.load(self.folder / "golden-in/logits.npy"), rtol=0, atol=2e-5
        )

    def test_outputs_that_stay_cut_are_put_together(self) -> None:
        plan = self.folder / "cut"
        must("partition", self.model, "--devices", 2, "--outputs", "sharded", "-o", plan, "--no-html", "--quiet")
        self.assertTrue(
            self.report(2, plan, "--inputs-dir", self.folder / "in", "--golden", self.folder / "golden-in")["golden"][
                "holds"
            ]
        )

    def test_bfloat16_is_near(self) -> None:
        found = self.report(
            2,
            self.folder / "plan2",
            "--inputs-dir",
            self.folder / "in",
            "--golden",
            self.folder / "golden-in",
            "--compute",
            "bf16",
        )
        error = found["golden"]["worst"]["max_relative_error"]
        self.assertTrue(1e-4 < error < 3e-2, error)  # less than 1e-4 would not be bfloat16

    def test_a_difference_is_exit_code_1_and_named(self) -> None:
        wrong = self.folder / "wrong"
        wrong.mkdir()
        logits = numpy.load(self.folder / "golden-in/logits.npy")
        logits[1, 3, 7] += 0.25
        numpy.save(wrong / "logits.npy", logits)
        done = run_ranks(1, self.folder / "plan1", "--inputs-dir", self.folder / "in", "--golden", wrong)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'logits' differs from golden", done.stderr)
        self.assertIn("[1, 3, 7]", done.stderr)

    def test_training_steps_are_the_programs(self) -> None:
        # RMSprop's first steps are ten rates long; with an eps as large as small gradients are, those of rounding are
        # not, and later gradients stay comparable.
        for optimizer, ranks, more in (
            ("sgd", 1, ["--momentum", 0.9]),
            ("adamw", 2, ["--max-grad-norm", 1]),
            ("rmsprop", 3, ["--eps", 1e-3, "--accumulate", 2]),
            ("rmsprop", 1, ["--eps", 1e-3, "--momentum", 0.5, "--centered"]),
        ):
            with self.subTest(optimizer):
                plan, golden = self.folder / f"step-{optimizer}{ranks}", self.folder / f"trained-{optimizer}{ranks}"
                must(
                    "partition",
                    self.model,
                    "--train",
                    "--optimizer",
                    optimizer,
                    *more,
                    "--devices",
                    ranks,
                    "-o",
                    plan,
                    "--no-html",
                    "--quiet",
                )
                inputs = ["--inputs-dir", self.folder / "in", "--inputs-dir", self.folder / "ones", "--steps", 3]
                must("run", plan, *inputs, "--dump", "gradients,parameters,state", "-o", golden, "--quiet")
                found = self.report(ranks, plan, *inputs, "--golden", golden)
                self.assertTrue(found["golden"]["holds"], found)
                self.assertGreater(found["golden"]["tensors"], 60)
                self.assertEqual(len(found["losses"]), 3)
                self.spoil_an_update(golden)
                done = run_ranks(ranks, plan, *inputs, "--golden", golden)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn("'parameters/model.decoder.layers.0.fc1.weight' differs", done.stderr)

    def spoil_an_update(self, golden: Path) -> None:
        """One number of a parameter is moved by a thousandth of the largest: one whose gradient is not tiny."""
        name = "model.decoder.layers.0.fc1.weight"
        index = json.loads((golden / "index.json").read_text())
        gradient = numpy.load(golden / index["gradients"][name])
        parameter = numpy.load(golden / index["parameters"][name])
        at = numpy.unravel_index(numpy.abs(gradient).argmax(), gradient.shape)
        parameter[at] += 1e-3 * numpy.abs(parameter).max()
        numpy.save(golden / index["parameters"][name], parameter)

    def test_a_plan_without_weights_runs_on_drawn_ones_alike_on_all_ranks(self) -> None:
        plan = self.folder / "empty"
        must("partition", self.model, "--devices", 2, "--no-weights", "-o", plan, "--no-html", "--quiet")
        made_up = ["--dim", "batch=2", "--dim", "sequence=5"]
        self.assertIn("--random-weights", self.failure(plan, made_up)["hint"])
        self.assertEqual(
            self.report(2, plan, *made_up, "--random-weights", 1, "--time", 1)["dims"], {"batch": 2, "sequence": 5}
        )

    def failure(self, plan: Path, arguments: list) -> dict:
        done = run_ranks(2, plan, *arguments, "--diagnostics", "json")
        self.assertNotEqual(done.returncode, 0)
        return json.loads(next(line for line in done.stderr.splitlines() if line.startswith("{")))

    def test_errors_say_what_and_where(self) -> None:
        other = self.folder / "bad"
        other.mkdir()
        numpy.save(other / "input_ids.npy", numpy.full((2, 9), 131))
        numpy.save(other / "attention_mask.npy", numpy.ones((2, 8), numpy.int64))
        plan = self.folder / "plan1"
        for arguments, code, part in (
            (["--inputs-dir", other], "bad-input/index", ("tensor", "input_ids")),
            (["--inputs-dir", self.folder / "none"], "not-found/file", ("file", str(self.folder / "none"))),
            ([], "missing/input", ("tensor", "input_ids, attention_mask")),
            (["--dim", "batch=2"], "missing/dim", ("dim", "sequence")),
            (["--dim", "batch"], "usage/number", ("exit", 2)),
        ):
            with self.subTest(code):
                done = run_ranks(1, plan, *arguments, "--diagnostics", "json")
                error = json.loads(done.stderr.splitlines()[-1])
                self.assertEqual((error["code"], error[part[0]], done.returncode), (code, part[1], error["exit"]))

    def test_one_process_for_each_device_is_asked_for(self) -> None:
        done = run_ranks(1, self.folder / "plan2", "--dim", "batch=1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("torchrun --nproc-per-node 2", done.stderr)


if __name__ == "__main__":
    unittest.main()
