"""docs/python.md: its statements run, and give what stands beside them."""

from __future__ import annotations

import ast
import re
import unittest

import opt_partition
from support import SIZE, SOURCE, InFolder

PAGE = (SOURCE / "docs/python.md").read_text(encoding="utf-8").partition("## Rank graphs on PyTorch")[0]


def statements(block: str) -> str:
    """`expression  # value` becomes a comparison."""
    lines = []
    for line in block.splitlines():
        found = re.fullmatch(r"( *)(\S.*?)  +# (.+)", line)
        if found and _parses(found[2], "eval") and _parses(found[3], "eval"):
            line = f"{found[1]}same({found[2]}, {found[3]}, {found[2]!r})"
        lines.append(line)
    return "\n".join(lines)


def _parses(text: str, mode: str) -> bool:
    try:
        ast.parse(text, mode=mode)
    except SyntaxError:
        return False
    return True


class Page(InFolder):
    def test_what_the_page_shows_is_so(self) -> None:
        opt_partition.call("build", "opt-125m", output="model.onnx", **{**SIZE, "vocab": 50272})
        compared = []

        def same(found: object, expected: object, text: str) -> None:
            self.assertEqual(found, expected, text)
            compared.append(text)

        blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        is_text = ["tokenizer=" in block for block in blocks]
        self.assertEqual((len(blocks) > 4, sum(is_text)), (True, 1))
        try:
            import tokenizers
        except ImportError:
            blocks.pop(is_text.index(True))  # all else of the page needs no tokenizers
        else:
            words = {word: k for k, word in enumerate("? once upon a time".split())}
            made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
            made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
            made.save("tokenizer.json")
        names: dict[str, object] = {"same": same}
        for block in blocks:
            exec(compile(statements(block), "docs/python.md", "exec"), names)
        self.assertGreaterEqual(len(compared), 12)

    def test_every_function_and_error_is_on_the_page(self) -> None:
        for name in opt_partition.__all__:
            thing = getattr(opt_partition, name)
            is_error = isinstance(thing, type) and issubclass(thing, opt_partition.OptPartitionError)
            if is_error or not isinstance(thing, type):
                self.assertRegex(PAGE, rf"\b{name}\b")


if __name__ == "__main__":
    unittest.main()
