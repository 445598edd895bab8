"""What the tests of the API share. They need numpy alone, and run on a checkout or on an installed wheel."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path

import opt_partition

SOURCE = Path(os.environ.get("OPTP_SOURCE", Path(__file__).resolve().parents[3]))
SIZE = {"layers": 2, "hidden": 64, "heads": 4, "ffn": 256, "vocab": 131}


def build(file: Path) -> None:
    """An OPT whose vocabulary does not divide by 2."""
    opt_partition.call("build", "opt-125m", output=file, **SIZE)


class InFolder(unittest.TestCase):
    """Tests that stand in a folder of their own, with a model m.onnx that they share."""

    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        build(cls.folder / "m.onnx")
        before = Path.cwd()
        cls.addClassCleanup(os.chdir, before)
        os.chdir(cls.folder)
