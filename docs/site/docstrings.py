"""An extension of Griffe: in docstrings, shapes as [B][V] are no links, and doctests are code."""

from __future__ import annotations

import re
from typing import Any

import griffe

CODE_OR_BRACKET = re.compile(r"(```.*?```|`[^`]*`)|\]\[", re.DOTALL)
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Shapes(griffe.Extension):
    """Show examples as code, and brackets as brackets."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring:
            text = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
            obj.docstring.value = CODE_OR_BRACKET.sub(lambda found: found[1] or r"]\[", text)
