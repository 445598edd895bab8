"""The program that the package brings, and how words of Python become words of its command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Union

from .errors import OptPartitionError

Flag = Union[None, bool, int, float, str, "os.PathLike[str]", Sequence[Any], Mapping[str, Any]]
"""A keyword's value: `flag_words` says what becomes of it."""


def find_program() -> str:
    """The program of this package; OPT_PARTITION_PROGRAM names another. A checkout has none, and takes that on PATH."""
    chosen = os.environ.get("OPT_PARTITION_PROGRAM") or _packaged() or shutil.which("opt-partition")
    if chosen:
        return chosen
    raise OptPartitionError(
        "the program opt-partition was not found",
        code="not-found/file",
        exit=66,
        hint="install the wheel, or let OPT_PARTITION_PROGRAM name the program",
    )


def _packaged() -> str | None:
    program = Path(__file__).parent / "bin" / "opt-partition"
    return str(program) if program.exists() else None


def main() -> NoReturn:
    """The console script: becomes the program, so that signals, exit code and output are its own."""
    program = os.environ.get("OPT_PARTITION_PROGRAM") or _packaged()
    if program is None:  # not from PATH: there this script itself may be what is found
        sys.exit("opt-partition: this package holds no program; OPT_PARTITION_PROGRAM may name one")
    try:
        os.execv(program, ["opt-partition", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"opt-partition: {program}: {error.strerror}")


def flag_words(flags: Mapping[str, Flag]) -> list[str]:
    """One rule for every flag, so that new ones need no code here. Underscores are dashes; True is the flag alone, None
    and False leave it out; numbers in a row are one value with commas, a row of other things is the flag again for
    each, and a mapping NAME=VALUE again for each."""
    return [word for name, value in flags.items() for word in _words("--" + name.replace("_", "-"), value)]


def _words(flag: str, value: Any) -> Iterator[str]:
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if value is None or value is False:
        return
    if value is True:
        yield flag
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{flag}={key}={_text(item)}"
    elif isinstance(value, (str, os.PathLike)) or not isinstance(value, (Sequence, set, frozenset)):
        yield f"{flag}={_text(value)}"
    elif value and all(_is_number(item) for item in value):
        yield f"{flag}={','.join(_text(item) for item in value)}"
    else:
        for item in value:
            yield from _words(flag, item)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def call(verb: str, *arguments: str | os.PathLike[str], progress: bool = False, **flags: Flag) -> str:
    """Runs the program and gives what it writes to stdout. `flag_words` says what becomes of keywords. With `progress`,
    what it has to say meanwhile goes to stderr. Raises what it gives as errors."""
    places = [os.fspath(a) for a in arguments]
    words = [verb, *("./" + place if place.startswith("-") else place for place in places), *flag_words(flags)]
    with tempfile.TemporaryDirectory(prefix="opt-partition-") as folder:
        errors = Path(folder) / "errors"
        command = [find_program(), f"--diagnostics=json:{errors}", *([] if progress else ["--quiet"]), *words]
        code, output, said = _run(command, None if progress else subprocess.PIPE)
        if code == 0:
            return output
        raise _error(code, output, said, errors)


def _run(command: list[str], stderr: int | None) -> tuple[int, str, str]:
    # In a process group of its own: at a terminal, Ctrl-C would reach the program twice, from there and from here, and
    # the second time it ends without removing what is half-written.
    process: subprocess.Popen[str] | None = None
    try:
        with _interrupts_wait():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                process_group=0,
                encoding="utf-8",
                errors="replace",
            )
        output, said = process.communicate()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return process.returncode, output, said or ""


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """For what must not be left halfway: a program that was started and that nobody knows of would go on."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[0])


def _end(process: subprocess.Popen[str]) -> None:
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        try:
            process.communicate()
            return
        except KeyboardInterrupt:
            continue
    process.kill()
    process.communicate()


def _error(code: int, output: str, said: str, file: Path) -> OptPartitionError:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    errors = [OptPartitionError.from_json(json.loads(line)) for line in lines]
    first = errors[0] if errors else _unexplained(code, said)
    first.others = tuple(errors[1:])
    first.output = output
    return first


def _unexplained(code: int, said: str) -> OptPartitionError:
    """It ended without an error of its own: a signal did that, or the system could not start it."""
    number = code - 128 if code in (130, 143) else -code
    if number in (signal.SIGINT, signal.SIGTERM):
        return OptPartitionError("interrupted", code="interrupted/signal", exit=128 + number)
    if number > 0:
        hint = "the system ends programs so where memory runs out" if number == signal.SIGKILL else None
        return OptPartitionError(f"ended by signal {number}", code="internal/bug", exit=70, hint=hint)
    last = said.strip().splitlines()[-1:] or [f"ended with exit code {code}"]
    return OptPartitionError(last[0], code="internal/bug", exit=70)
