"""Plans, runs, training and generating, against the program's own files."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from pathlib import Path

import numpy
import opt_partition
from support import InFolder, build


class Verbs(InFolder):
    def inputs(self) -> dict[str, numpy.ndarray]:
        ids = numpy.random.default_rng(5).integers(0, 131, (2, 9))
        return {"input_ids": ids, "attention_mask": numpy.ones((2, 9), numpy.int64)}

    def test_a_plan_says_what_its_file_says(self) -> None:
        plan = opt_partition.partition("m.onnx", devices=2, output="said")
        text = json.loads((self.folder / "said/plan.json").read_text())
        self.assertEqual(
            (plan.path, plan.devices, plan.mesh, plan.strategy), (Path("said"), 2, {"tensor": 2}, "megatron")
        )
        self.assertEqual([c.id for c in plan.collectives], [c["id"] for c in text["collectives"]])
        table = plan.tensors["model.decoder.embed_tokens.weight"]
        self.assertEqual((table.sharding, table.shape), ("[tensor, _]", (131, 64)))
        self.assertIn("vocab", table.cause)
        self.assertEqual([table.shard(rank).shape for rank in (0, 1)], [(66, 64), (65, 64)])
        self.assertEqual(opt_partition.inspect("m.onnx", devices=2)["collectives"], text["collectives"])
        self.assertEqual(opt_partition.inspect(plan, tensor="*.fc1.weight", layer=1)["tensors"][0]["shape"], [256, 64])

    def test_a_run_gives_whole_outputs_that_do_not_depend_on_devices(self) -> None:
        plans = [opt_partition.partition("m.onnx", devices=n, output=f"plan{n}") for n in (1, 3)]
        one, three = (plan.run(self.inputs())["logits"] for plan in plans)
        self.assertEqual((one.shape, one.dtype), ((2, 9, 131), numpy.float32))
        numpy.testing.assert_allclose(one, three, rtol=0, atol=1e-5)
        kept = plans[0].run(self.inputs(), output="kept")["logits"]
        numpy.testing.assert_array_equal(kept, numpy.load("kept/logits.npy"))

    def test_inputs_are_arrays_lists_or_words(self) -> None:
        plan = opt_partition.partition("m.onnx", output="any")
        ids = [[5, 6, 7]]
        given = [
            plan.run({"input_ids": numpy.array(ids), "attention_mask": numpy.ones((1, 3), numpy.int64)}),
            plan.run({"input_ids": ids, "attention_mask": "ones"}),
            plan.run(input={"input_ids": ids, "attention_mask": "ones"}),
        ]
        for other in given[1:]:
            numpy.testing.assert_array_equal(given[0]["logits"], other["logits"])
        long = numpy.zeros((1000, 60), numpy.int64).tolist()  # longer than a word of a command line may be
        self.assertEqual(plan.run({"input_ids": long, "attention_mask": "ones"})["logits"].shape, (1000, 60, 131))

    def test_a_check_that_holds_says_what_it_compared(self) -> None:
        report = opt_partition.check("m.onnx", devices=3, inputs=self.inputs(), json="check.json")
        self.assertEqual(report.dims, {"batch": 2, "sequence": 9})
        self.assertTrue(all(row.holds and row.error <= row.allowed for row in report.comparisons))
        self.assertEqual(report.json, json.loads((self.folder / "check.json").read_text()))

    def test_training_gives_its_steps_and_a_model(self) -> None:
        tokens = numpy.random.default_rng(7).integers(0, 131, 400)
        run = opt_partition.train(
            "m.onnx", devices=2, data=tokens, batch=2, sequence=9, max_steps=3, lr=0.01, save="run"
        )
        self.assertEqual([step.step for step in run.steps], [1, 2, 3])
        alone = opt_partition.train(
            "m.onnx", devices=1, data=tokens.tolist(), batch=2, sequence=9, max_steps=3, lr=0.01, save="alone"
        )
        numpy.testing.assert_allclose(run.losses, alone.losses, rtol=1e-4)
        self.assertEqual((run.checkpoint, alone.checkpoint), (Path("run"), Path("alone")))
        more = opt_partition.train("m.onnx", devices=2, data=tokens, resume="run", max_steps=4, save="run")
        self.assertEqual([step.step for step in more.steps], [4])
        trained = more.export("trained.onnx")
        wider = more.reshard("wider", devices=3)
        self.assertEqual(*(opt_partition.export(run, f"{run}.safetensors").read_bytes() for run in ("run", wider)))
        opt_partition.partition("m.onnx", devices=2, output="two")
        weights = opt_partition.export(wider, "weights", plan="two")
        self.assertEqual(
            sorted(file.name for file in weights.iterdir()),
            ["manifest.json", "rank0.safetensors", "rank1.safetensors"],
        )
        before, after = (
            opt_partition.partition(model, output=folder).run(self.inputs())["logits"]
            for model, folder in (("m.onnx", "before"), (trained, "after"))
        )
        self.assertGreater(numpy.abs(before - after).max(), 1e-3)

    def test_steps_of_a_plan_give_losses_and_what_is_asked_for(self) -> None:
        plan = opt_partition.partition("m.onnx", train=True, optimizer="adamw", betas=(0.9, 0.95), output="step")
        batch = {**self.inputs(), "labels": numpy.random.default_rng(6).integers(0, 131, (2, 9))}
        steps = plan.run_steps([batch], steps=4, dump=["gradients", "state"])
        self.assertEqual(len(steps.losses), 4)
        self.assertLess(steps.losses[3], steps.losses[0])
        name = "model.decoder.layers.0.fc1.weight"
        self.assertEqual(steps.gradients[name].shape, (256, 64))
        self.assertEqual(set(steps.state[name]), {"exp_avg", "exp_avg_sq"})
        self.assertEqual(steps.parameters, {})
        lists = {key: array.tolist() for key, array in batch.items()}
        self.assertEqual(plan.run_steps([lists]).losses, steps.losses[:1])
        with self.assertRaises(opt_partition.UsageError) as caught:
            plan.run(batch)
        self.assertIn("run_steps", str(caught.exception))

    def test_generating_gives_new_ids_as_prompts_were_given(self) -> None:
        one = opt_partition.generate("m.onnx", [2, 5, 6], tokens=4, devices=2)
        self.assertEqual(len(one), 4)
        rows = opt_partition.generate("m.onnx", [[2, 5, 6], [7]], tokens=4)
        self.assertEqual([len(row) for row in rows], [4, 4])
        self.assertEqual(rows[0], one)
        self.assertEqual(opt_partition.generate("m.onnx", numpy.array([[2, 5, 6]]), tokens=4), [one])
        self.assertEqual(opt_partition.generate("m.onnx", [2, 5, 6], tokens=4, stop_ids=[one[0]]), one[:1])
        plan = opt_partition.partition("m.onnx", kv_cache=16, output="decoder")
        self.assertEqual(opt_partition.generate(plan, [2, 5, 6], tokens=4), one)

    def test_times_and_versions(self) -> None:
        times = opt_partition.bench("m.onnx", devices=2, dim={"batch": 1, "sequence": 4})
        self.assertEqual((times["devices"], times["median_ms"] > 0), (2, True))
        self.assertRegex(opt_partition.version()["opt-partition"], r"^\d+\.\d+\.\d+$")

    def test_progress_is_passed_on_or_silent(self) -> None:
        for progress in (False, True):
            with tempfile.TemporaryFile("w+") as stderr, contextlib.redirect_stdout(io.StringIO()) as stdout:
                kept = os.dup(2)
                os.dup2(stderr.fileno(), 2)
                try:
                    opt_partition.partition("m.onnx", output=f"quiet{progress}", progress=progress)
                finally:
                    os.dup2(kept, 2)
                    os.close(kept)
                stderr.seek(0)
                self.assertEqual(bool(stderr.read()), progress)
                self.assertEqual(stdout.getvalue(), "")


class Text(InFolder):
    """A tokenizer of one token a word, and a model of its vocabulary."""

    @classmethod
    def setUpClass(cls) -> None:
        try:
            import tokenizers
        except ImportError:
            raise unittest.SkipTest("no package tokenizers") from None
        super().setUpClass()
        words = {f"w{k}": k for k in range(131)}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        made.save(str(cls.folder / "tokenizer.json"))

    def test_text_goes_in_and_comes_out(self) -> None:
        ids = opt_partition.generate("m.onnx", [2, 5, 6], tokens=4)
        text = " " + " ".join(f"w{k}" for k in ids)
        self.assertEqual(opt_partition.generate("m.onnx", "w2 w5 w6", tokens=4), text)
        self.assertEqual(opt_partition.generate("m.onnx", ["w2 w5 w6"], tokens=4), [text])

    def test_the_tokenizer_is_found_or_named(self) -> None:
        import tokenizers

        text = opt_partition.generate("m.onnx", "w2", tokens=2)
        (self.folder / "onnx").mkdir()
        build(self.folder / "onnx/model.onnx")
        self.assertEqual(
            opt_partition.generate("onnx/model.onnx", "w2", tokens=2), text
        )  # as Optimum and others lay it
        plan = opt_partition.partition("m.onnx", kv_cache=16, output="onnx/plan")
        own = tokenizers.Tokenizer.from_file("tokenizer.json")
        for tokenizer in ("tokenizer.json", self.folder, own):
            self.assertEqual(opt_partition.generate(plan, "w2", tokens=2, tokenizer=tokenizer), text)

    def test_text_ends_where_the_model_says(self) -> None:
        ids = opt_partition.generate("m.onnx", [2, 5, 6], tokens=4)
        end = {"eos_token_id": [ids[0]]}
        (self.folder / "generation_config.json").write_text(json.dumps(end))
        self.addCleanup((self.folder / "generation_config.json").unlink)
        self.assertEqual(opt_partition.generate("m.onnx", "w2 w5 w6", tokens=4), f" w{ids[0]}")
        self.assertEqual(len(opt_partition.generate("m.onnx", "w2 w5 w6", tokens=4, stop_ids=None).split()), 4)


if __name__ == "__main__":
    unittest.main()
