"""What goes wrong, in parts that programs can read: the same as a line of `--diagnostics json` has (docs/errors.md)."""

from __future__ import annotations

import json
from typing import Any


class OptPartitionError(Exception):
    """An error with a stable code, an exit code, and the file, node and tensor that it is about where there are any."""

    def __init__(self, message: str, *, code: str, exit: int = 65, **parts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit = exit
        self.parts = {key: str(value) for key, value in parts.items() if value is not None}

    def __getattr__(self, name: str) -> str | None:
        # file, node, op, tensor, expected, found, hint, suggestion …: None where the error has no such part.
        if name.startswith("_"):
            raise AttributeError(name)
        parts: dict[str, str] = self.__dict__.get("parts", {})
        return parts.get(name)

    def __str__(self) -> str:
        place = [str(self.parts[key]) for key in ("file",) if key in self.parts]
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
