"""Own attributes from the page: faces that somebody marked yes or no, in one request, to a file and what to think of
it. Nothing is kept.

JSON {name, yes: [base64 picture of an aligned face], no: [...]} -> examples -> taught -> JSON {report, file, suspects}
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from lineament.errors import LineamentError, UsageError
from lineament.inputs.item import Item
from lineament.teach.examples import MOST, NO, YES, Listed, collect
from lineament.teach.teach import teach

if TYPE_CHECKING:
    from lineament.api import Model


def taught_line(model: Model, data: bytes) -> bytes:
    """Return what teaching gives as one line of JSON: report; file, None where nothing is learnable; suspects as [side,
    number, probability].

    Raises: UsageError for a body of another form, and what `teach` raises.
    """
    name, listed = _parsed(data)
    taught = teach(name, collect(listed, model.network, None), model.network)
    suspects = [
        [side, int(number), chance]
        for (side, number), chance in ((source.split(" "), chance) for source, _, chance in taught.suspects)
    ]
    found = {"report": taught.report, "file": taught.own.to_dict() if taught.learnable else None, "suspects": suspects}
    return json.dumps(found, ensure_ascii=True, allow_nan=False).encode("ascii")


def _parsed(data: bytes) -> tuple[str, list[Listed]]:
    try:
        document = json.loads(data.decode("utf-8"))
        name, sides = document["name"], {YES: document["yes"], NO: document["no"]}
        if not isinstance(name, str) or not all(
            isinstance(side, list) and len(side) <= MOST for side in sides.values()
        ):
            raise UsageError(f"A name, and at most {MOST} faces a side.")
        return name, [
            Listed(Item(f"{'yes' if label == YES else 'no'} {number}", data=_picture(text)), label)
            for label, side in sides.items()
            for number, text in enumerate(side)
        ]
    except LineamentError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            'Send JSON: {"name": NAME, "yes": [base64 pictures of aligned faces, 178x218], "no": [...]}.'
        ) from error


def _picture(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise UsageError("A face is not base64.") from error
