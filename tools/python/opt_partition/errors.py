"""What goes wrong, in parts that programs can read: the same as a line of `--diagnostics json` has (docs/errors.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .verbs import Check


class OptPartitionError(Exception):
    """An error with a stable code, an exit code, and the parts that it has: file, node, tensor and so on are None where
    it has none. What is raised is of the subclass that belongs to the exit code."""

    message: str
    code: str
    exit: int
    parts: dict[str, str]
    others: tuple[OptPartitionError, ...] = ()
    """Further errors that the program gave with this one."""
    output: str = ""
    """What the program had written to stdout before."""

    def __new__(cls, message: str = "", *, code: str = "", exit: int = 65, **parts: Any) -> OptPartitionError:
        return super().__new__(_BY_EXIT.get(exit, cls) if cls is OptPartitionError else cls, message)

    def __init__(self, message: str, *, code: str, exit: int = 65, **parts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit = exit
        self.parts = {key: str(value) for key, value in parts.items() if value is not None}
        self._text: str | None = None

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> OptPartitionError:
        """Of a line that `--diagnostics json` printed. Its message has the place and all else in words already."""
        parts = {key: value for key, value in found.items() if key not in ("severity", "code", "exit", "message")}
        error = OptPartitionError(str(found["message"]), code=str(found["code"]), exit=int(found["exit"]), **parts)
        error._text = error.message
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.message, self.code, self.exit, self.parts), self.__dict__

    @property
    def file(self) -> str | None:
        return self.parts.get("file")

    @property
    def line(self) -> int | None:
        return int(self.parts["line"]) if "line" in self.parts else None

    @property
    def flag(self) -> str | None:
        return self.parts.get("flag")

    @property
    def node(self) -> str | None:
        return self.parts.get("node")

    @property
    def op(self) -> str | None:
        return self.parts.get("op")

    @property
    def module(self) -> str | None:
        """The node's, as the model's source calls it."""
        return self.parts.get("module")

    @property
    def tensor(self) -> str | None:
        return self.parts.get("tensor")

    @property
    def model_name(self) -> str | None:
        """The tensor's, in the model's source."""
        return self.parts.get("model_name")

    @property
    def dim(self) -> str | None:
        return self.parts.get("dim")

    @property
    def expected(self) -> str | None:
        return self.parts.get("expected")

    @property
    def found(self) -> str | None:
        return self.parts.get("found")

    @property
    def way_out(self) -> str | None:
        """What to do about it: the word that was perhaps meant, or a hint in words."""
        return self.parts.get("suggestion") or self.parts.get("hint")

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        place = [self.parts["file"]] if "file" in self.parts else []
        if "node" in self.parts:
            place.append(f"node '{self.parts['node']}'" + (f" ({self.parts['op']})" if "op" in self.parts else ""))
        elif "op" in self.parts:
            place.append(self.parts["op"])
        if "tensor" in self.parts:
            place.append(f"'{self.parts['tensor']}'")
        text = ": ".join([", ".join(place), self.message] if place else [self.message])
        if "expected" in self.parts or "found" in self.parts:
            text += f": expected {self.parts.get('expected', '?')}, found {self.parts.get('found', '?')}"
        return text + (f" ({self.parts['hint']})" if "hint" in self.parts else "")

    def to_json(self) -> str:
        return json.dumps(
            {"severity": "error", "code": self.code, "exit": self.exit, "message": str(self), **self.parts}
        )


def _again(kind: type[OptPartitionError], message: str, code: str, exit: int, parts: dict[str, str]) -> Any:
    return kind(message, code=code, exit=exit, **parts)


class CheckFailed(OptPartitionError):
    """Exit code 1: what was asked is not so. The parts do not compute what the whole does, a loss is not a number,
    devices have too little memory, or two plans differ."""

    report: Check | None = None
    """What `check` compared."""


class UsageError(OptPartitionError):
    """Exit code 2: an argument that is not known, is missing, or has a value that cannot hold."""


class InputError(OptPartitionError):
    """Exit code 65: the model, an input or a plan is malformed or not supported."""


class NotFound(OptPartitionError):
    """Exit code 66: an input was not found."""


class InternalError(OptPartitionError):
    """Exit code 70: a bug of opt-partition, or memory that ran out."""


class WriteError(OptPartitionError):
    """Exit code 73: the output cannot be written."""


class RankFailed(OptPartitionError):
    """Exit code 75: a rank died or hung."""


class Interrupted(OptPartitionError):
    """Exit codes 130 and 143: a signal ended the program, and nothing half-written is left."""


_BY_EXIT: dict[int, type[OptPartitionError]] = {
    1: CheckFailed,
    2: UsageError,
    65: InputError,
    66: NotFound,
    70: InternalError,
    73: WriteError,
    75: RankFailed,
    130: Interrupted,
    143: Interrupted,
}
