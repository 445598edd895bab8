"""What becomes of words of Python, and which program is called."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import opt_partition
from opt_partition.program import flag_words

PACKAGE = Path(opt_partition.__file__).parent


class Flags(unittest.TestCase):
    def test_one_rule_makes_flags_of_keywords(self) -> None:
        for value, words in (
            (2, ["--some-flag=2"]),
            (-0.5, ["--some-flag=-0.5"]),
            ("a b", ["--some-flag=a b"]),
            (Path("x/y"), ["--some-flag=x/y"]),
            (True, ["--some-flag"]),
            (False, []),
            (None, []),
            (["p*", "q"], ["--some-flag=p*", "--some-flag=q"]),
            ([Path("a"), Path("b")], ["--some-flag=a", "--some-flag=b"]),
            ((0.9, 0.95), ["--some-flag=0.9,0.95"]),
            ([[2, 100], [5]], ["--some-flag=2,100", "--some-flag=5"]),
            ([], []),
            ({"batch": 2, "sequence": 64}, ["--some-flag=batch=2", "--some-flag=sequence=64"]),
            ({"ids": [[1, 2]]}, ["--some-flag=ids=[[1, 2]]"]),
            (numpy.int64(3), ["--some-flag=3"]),
            (numpy.array([3, 4]), ["--some-flag=3,4"]),
            ({"n": numpy.int32(7)}, ["--some-flag=n=7"]),
        ):
            with self.subTest(repr(value)):
                self.assertEqual(flag_words({"some_flag": value}), words)


class Programs(unittest.TestCase):
    """A program that says how it was called stands in for the real one."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.program = Path(temporary.name) / "opt-partition"
        chosen = mock.patch.dict(os.environ, {"OPT_PARTITION_PROGRAM": str(self.program)})
        chosen.start()
        self.addCleanup(chosen.stop)

    def is_program(self, script: str) -> None:
        self.program.write_text("#!/bin/sh\n" + script)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def test_a_call_is_a_verb_its_places_and_its_flags(self) -> None:
        self.is_program('shift; for word; do echo "$word"; done')
        self.assertEqual(
            opt_partition.call("verb", "-place", Path("b"), new_flag=1).splitlines(),
            ["--quiet", "verb", "./-place", "b", "--new-flag=1"],
        )
        self.assertEqual(opt_partition.call("verb", progress=True), "verb\n")

    def test_a_program_that_ends_without_an_error_of_its_own_is_one(self) -> None:
        for script, kind, code, text in (
            ("echo no library >&2; exit 127", opt_partition.InternalError, "internal/bug", "no library"),
            ("exit 3", opt_partition.InternalError, "internal/bug", "ended with exit code 3"),
            ("kill -9 $$", opt_partition.InternalError, "internal/bug", "ended by signal 9 (the system ends programs"),
            ("kill -15 $$", opt_partition.Interrupted, "interrupted/signal", "interrupted"),
            ("exit 130", opt_partition.Interrupted, "interrupted/signal", "interrupted"),
        ):
            with self.subTest(script), self.assertRaises(kind) as caught:
                self.is_program(script)
                opt_partition.call("verb")
            self.assertEqual(caught.exception.code, code)
            self.assertIn(text, str(caught.exception))

    def test_several_errors_are_one_with_the_others(self) -> None:
        line = '{"severity":"error","code":"bad-input/%s","exit":65,"message":"%s"}'
        lines = "\n".join((line % ("cycle", "first"), line % ("malformed", "second")))
        self.is_program(f"echo before; file=${{1#--diagnostics=json:}}; cat > $file <<'END'\n{lines}\nEND\nexit 65")
        with self.assertRaises(opt_partition.InputError) as caught:
            opt_partition.call("verb")
        self.assertEqual((str(caught.exception), caught.exception.output), ("first", "before\n"))
        self.assertEqual(
            [(type(e), e.code) for e in caught.exception.others], [(opt_partition.InputError, "bad-input/malformed")]
        )

    def test_an_interrupt_reaches_the_program_once_and_is_waited_for(self) -> None:
        said = self.program.with_name("said")
        # The program's own handler ends it; its child's end must not be what ends the wait.
        self.is_program(
            f"trap 'echo interrupted >> {said}; sleep 0.3; echo removed >> {said}; exit 130' INT\n"
            f"echo ready > {said}; while :; do sleep 0.05; done"
        )
        # Where the tests run in the background the shell has them ignore interrupts.
        caller = """
import opt_partition, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    opt_partition.call("verb")
except KeyboardInterrupt:
    print("interrupted here")
"""
        # A terminal's Ctrl-C goes to the whole group of processes.
        process = subprocess.Popen(
            [sys.executable, "-c", caller],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        )
        self.addCleanup(process.kill)
        while not said.exists() or not said.read_text():
            self.assertIsNone(process.poll())
        os.killpg(process.pid, 2)
        output, _ = process.communicate(timeout=60)
        self.assertEqual((output, process.returncode), ("interrupted here\n", 0))
        self.assertEqual(said.read_text().split(), ["ready", "interrupted", "removed"])

    def test_an_interrupt_while_the_program_starts_is_kept_until_it_can_be_ended(self) -> None:
        ended = self.program.with_name("ended")
        self.is_program(f"trap 'touch {ended}; exit 130' INT; while :; do sleep 0.05; done")
        start = subprocess.Popen

        def interrupted(*words: Any, **more: Any) -> subprocess.Popen[str]:
            process = start(*words, **more)
            time.sleep(0.3)  # until the script has its trap
            signal.raise_signal(signal.SIGINT)
            return process

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        with mock.patch("subprocess.Popen", interrupted), self.assertRaises(KeyboardInterrupt):
            opt_partition.call("verb")
        self.assertTrue(ended.exists())

    def test_the_console_script_is_the_program(self) -> None:
        self.is_program('echo "$@"; exit 7')
        for words in (["--version", "x y"], ["check", "--", "m.onnx"]):
            done = subprocess.run(
                [sys.executable, "-m", "opt_partition", *words],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
            )
            self.assertEqual((done.stdout, done.returncode), (" ".join(words) + "\n", 7))

    def test_a_program_that_is_not_there_is_an_error_with_a_way_out(self) -> None:
        nothing = {"OPT_PARTITION_PROGRAM": "", "PATH": ""}
        with mock.patch.dict(os.environ, nothing), mock.patch("opt_partition.program._packaged", return_value=None):
            with self.assertRaises(opt_partition.NotFound) as caught:
                opt_partition.call("verb")
        self.assertIn("OPT_PARTITION_PROGRAM", caught.exception.way_out or "")


class Imports(unittest.TestCase):
    def test_numpy_is_imported_where_arrays_are(self) -> None:
        check = "import opt_partition, sys; sys.exit('numpy' in sys.modules)"
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        self.assertEqual(subprocess.run([sys.executable, "-c", check], check=False, env=environment).returncode, 0)


if __name__ == "__main__":
    unittest.main()
