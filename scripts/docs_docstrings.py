"""Docstrings as pages show them: the parts in bold, arguments as a list, examples as code (an extension of griffe, for
mkdocstrings)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import griffe

_PART = re.compile(
    r"^(Args|Returns|Raises|Yields|Convention|Source|Columns|\*\*Convention\*\*|\*\*Source\*\*)(:)", re.M
)
_ARGUMENT = re.compile(r"(?:(?<=^)|(?<=[.;] ))((?:\*{0,2}\w+)(?:, \w+)*): ")


class Readable(griffe.Extension):
    """Rewrites each docstring into Markdown before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Return a docstring as Markdown.

    >>> markdown("Do it.\\n\\nArgs: a: first. b: second.").splitlines()[2:]
    ['**Args**', '', '- `a`: first.', '- `b`: second.']
    """
    parts = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(_block(part) for part in parts)


def _block(part: str) -> str:
    if part.lstrip().startswith(">>>"):
        shown = re.sub(r"\s*# doctest: \+\w+", "", _outdent(part))
        return f"```pycon\n{shown}\n```"
    if part.startswith("    "):
        return f"```text\n{_outdent(part)}\n```"
    starts = [match.start() for match in _PART.finditer(part)]
    if not starts:
        return part
    cuts = [0, *starts, len(part)]
    pieces = [part[a:b].strip() for a, b in pairwise(cuts) if part[a:b].strip()]
    return "\n\n".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    match = _PART.match(piece)
    if match is None:
        return piece
    name, rest = match.group(1).strip("*"), " ".join(piece[match.end() :].split())
    found = list(_ARGUMENT.finditer(rest)) if name == "Args" else []
    if not found:
        return f"**{name}**: {rest}"
    ends = [*(each.start() for each in found[1:]), len(rest)]
    rows = [f"- `{each.group(1)}`: {rest[each.end() : end].strip()}" for each, end in zip(found, ends, strict=True)]
    return "\n".join([f"**{name}**", "", *rows])


def _outdent(text: str) -> str:
    lines = text.splitlines()
    least = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[least:] for line in lines)
