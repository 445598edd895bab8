"""What goes between Python and the program: arrays as files in temporary folders."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from .program import Flag

if TYPE_CHECKING:
    import numpy

Place = Union[str, "os.PathLike[str]"]
Whole = Union["numpy.ndarray", Sequence[Any], int, float, str]
"""An input: an array, numbers in lists, or what `--input` takes in words, such as "ones" and "rand(1)"."""


@contextmanager
def input_words(inputs: Mapping[str, Whole] | None) -> Iterator[dict[str, Flag]]:
    """The flag --input: NAME=@FILE for each array, else NAME=WORDS. A list has no dtype, and gets that of the input."""
    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder:
        words: list[str] = []
        for k, (name, value) in enumerate((inputs or {}).items()):
            text = value if isinstance(value, str) else "" if hasattr(value, "tolist") else str(value)
            if text and len(text) < 100_000:  # Linux takes words of 128 KiB
                words.append(f"{name}={text}")
                continue
            import numpy

            file = Path(folder) / f"{k}-{file_name(name)}.npy"
            numpy.save(file, numpy.asarray(value))
            words.append(f"{name}=@{file}")
        yield {"input": words} if words else {}


@contextmanager
def token_file(data: Place | numpy.ndarray | Sequence[int] | None) -> Iterator[Place | None]:
    if data is None or isinstance(data, (str, os.PathLike)):
        yield data
        return
    import numpy

    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder:
        numpy.save(Path(folder) / "tokens.npy", numpy.asarray(data))
        yield Path(folder) / "tokens.npy"


@contextmanager
def folder_for(output: Place | None) -> Iterator[Path]:
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder:
        yield Path(folder) / "out"


@contextmanager
def file_for(chosen: Place | None) -> Iterator[Path]:
    if chosen is not None:
        yield Path(chosen)
        return
    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder:
        yield Path(folder) / "file"


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def load(file: Path) -> numpy.ndarray:
    import numpy

    array: numpy.ndarray = numpy.load(file, allow_pickle=False)
    return array


def number(found: float | None, other: float = float("nan")) -> float:
    """JSON has no name for what is not finite."""
    return other if found is None else float(found)


def file_name(tensor: str) -> str:
    """A tensor's name as that of a file, as the program has it (tools/run/tensor_folder.cpp)."""
    data = tensor.encode("utf-8")[:200]
    file = re.sub(r"[^A-Za-z0-9._-]", "_", data.decode("latin-1"))
    return "_" + file if not file or file.startswith(".") else file
