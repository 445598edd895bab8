"""Extents of a plan (docs/plan-schema.md, section 1): integers, or expressions over the plan's dims."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import OptPartitionError

Extent = int | str

# A name stands alone or in quotes; "-" is part of a name, and a binary operator only between blanks.
_TOKEN = re.compile(
    r" *(?:(?P<op> [+-] |\*|\(|\)|, |-(?=[^ ]))|(?P<number>\d+)(?![\w.:-])"
    r"|'(?P<quoted>(?:\\.|[^'\\])*)'|(?P<name>[^\W\d][\w.:-]*))"
)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)")


def evaluate(extent: Extent, dims: Mapping[str, int]) -> int:
    """The extent's number where the dims are these; KeyError names a dim that is not bound."""
    if isinstance(extent, int):
        return extent
    tokens = _tokens(extent)
    position = 0

    def peek() -> tuple[str, str]:
        return tokens[position] if position < len(tokens) else ("end", "")

    def take(expected: str | None = None) -> tuple[str, str]:
        nonlocal position
        token = peek()
        if expected is not None and token[1] != expected:
            raise _malformed(extent)
        position += 1
        return token

    def summed() -> int:
        value = product()
        while peek() in (("op", "+"), ("op", "-")):
            value = value + product() if take()[1] == "+" else value - product()
        return value

    def product() -> int:
        value = factor()
        while peek() == ("op", "*"):
            take()
            value *= factor()
        return value

    def factor() -> int:
        kind, text = take()
        if kind == "number":
            return int(text)
        if (kind, text) == ("op", "-"):
            return -factor()
        if (kind, text) == ("op", "("):
            value = summed()
            take(")")
            return value
        if kind == "name" and text in ("floor", "min", "max") and peek() == ("op", "("):
            take("(")
            left = summed()
            take(",")
            right = summed()
            take(")")
            return left // right if text == "floor" else (min if text == "min" else max)(left, right)
        if kind in ("name", "quoted"):
            return dims[text]
        raise _malformed(extent)

    value = summed()
    if position != len(tokens):
        raise _malformed(extent)
    return value


def _tokens(text: str) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise _malformed(text)
        kind = str(found.lastgroup)
        value = str(found[kind])
        if kind == "quoted":
            value = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2], value)
        out.append((kind, value.strip() if kind == "op" else value))
        at = found.end()
    return out


def _malformed(extent: str) -> OptPartitionError:
    return OptPartitionError(f"malformed extent '{extent}'", code="bad-plan/extent")


def is_name(extent: Extent) -> str | None:
    """The dim's name if the extent is nothing but a name."""
    if isinstance(extent, int):
        return None
    tokens = _tokens(extent)
    return tokens[0][1] if len(tokens) == 1 and tokens[0][0] in ("name", "quoted") else None
