"""`generate` in ids or in text, where a tokenizer.json and the package tokenizers are there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from .errors import NotFound, UsageError
from .exchange import Place
from .plan import Plan
from .program import Flag, call

if TYPE_CHECKING:
    import numpy


class Encoded(Protocol):
    @property
    def ids(self) -> list[int]: ...


class Tokenizer(Protocol):
    """What is used of a tokenizers.Tokenizer."""

    def encode(self, text: str, /) -> Encoded: ...
    def decode(self, ids: list[int], /) -> str: ...


@overload
def generate(
    model: Plan | Place,
    prompts: str,
    *,
    tokenizer: Tokenizer | Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> str: ...
@overload
def generate(
    model: Plan | Place,
    prompts: list[str] | tuple[str, ...],
    *,
    tokenizer: Tokenizer | Place | None = None,
    progress: bool = False,
    **flags: Flag,
) -> list[str]: ...
@overload
def generate(model: Plan | Place, prompts: Sequence[int], *, progress: bool = False, **flags: Flag) -> list[int]: ...
@overload
def generate(
    model: Plan | Place,
    prompts: Sequence[Sequence[int]] | numpy.ndarray,
    *,
    progress: bool = False,
    **flags: Flag,
) -> list[list[int]]: ...
def generate(
    model: Plan | Place,
    prompts: Any,
    *,
    tokenizer: Any = None,
    progress: bool = False,
    **flags: Flag,
) -> Any:
    """Goes on with prompts, and gives what is new: ids for ids, text for text, a list for several.

    Text needs a tokenizer: a tokenizers.Tokenizer, or the place of a tokenizer.json; without, that beside the model or
    in the folder above. It ends where `stop_ids=` says, else at the eos_token_id of the generation_config.json or
    config.json beside the tokenizer."""
    prompts = prompts.tolist() if hasattr(prompts, "tolist") else prompts
    many = not isinstance(prompts, str) and not (len(prompts) > 0 and isinstance(prompts[0], int))
    rows = list(prompts) if many else [prompts]
    if not rows or not isinstance(rows[0], str):
        made = _go_on(model, rows, progress, flags)
        return made if many else made[0]
    words, beside = _tokenizer(model, tokenizer)
    if "stop_ids" not in flags and beside is not None:
        flags["stop_ids"] = _ends_of_text(beside)
    ids = [words.encode(text).ids for text in rows]
    texts = [_new_text(words, *row) for row in zip(ids, _go_on(model, ids, progress, flags))]
    return texts if many else texts[0]


def _go_on(
    model: Plan | Place, rows: Sequence[Sequence[int]], progress: bool, flags: dict[str, Flag]
) -> list[list[int]]:
    place = model.path if isinstance(model, Plan) else model
    prompts = [",".join(map(str, row)) for row in rows]
    said = call("generate", place, progress=progress, prompt_ids=prompts, **flags)
    return [[int(word) for word in line.split(",") if word] for line in said.splitlines()]


def _tokenizer(model: Plan | Place, chosen: Tokenizer | Place | None) -> tuple[Tokenizer, Path | None]:
    """The tokenizer, and the folder of its file."""
    if chosen is not None and not isinstance(chosen, (str, os.PathLike)):
        return chosen, None
    file = Path(chosen) if chosen is not None else _beside(model)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.exists():
        raise NotFound("no such file", code="not-found/file", exit=66, file=file)
    try:
        import tokenizers
    except ImportError:
        raise UsageError(
            "text needs the package tokenizers",
            code="usage/missing",
            exit=2,
            hint="pip install tokenizers, or give prompts as ids",
        ) from None
    found: Tokenizer = tokenizers.Tokenizer.from_file(str(file))
    return found, file.parent


def _beside(model: Plan | Place) -> Path:
    place = model.path if isinstance(model, Plan) else Path(model)
    folder = place if place.is_dir() else place.parent
    for file in (folder / "tokenizer.json", folder.resolve().parent / "tokenizer.json"):
        if file.exists():
            return file
    raise NotFound(
        "no tokenizer.json beside the model",
        code="not-found/file",
        exit=66,
        file=folder / "tokenizer.json",
        hint="tokenizer= names one; without, prompts are ids",
    )


def _ends_of_text(folder: Path) -> list[int] | None:
    for file in (folder / "generation_config.json", folder / "config.json"):
        if not file.exists():
            continue
        found = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        if found is not None:
            return list(found) if isinstance(found, list) else [int(found)]
    return None


def _new_text(words: Tokenizer, given: list[int], made: list[int]) -> str:
    """Of the whole text what is new: decoded alone, many tokenizers drop the blank before its first word."""
    before, whole = words.decode(given), words.decode(given + made)
    return whole[len(before) :] if whole.startswith(before) else words.decode(made)
