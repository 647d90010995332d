"""The pictures of a report: confident errors, and where the network looks.

predictions, images -> thumbnails -> figures;   network, images -> maps -> overlays -> figures
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament.evaluation.compare import labels_of
from lineament.evaluation.predictions import Predictions
from lineament.report.overlays import Overlays
from lineament.report.pages import paragraphs, table
from lineament.report.tables import marked, percent
from lineament.visual.contact_sheet import fitted

THUMBNAIL = (178, 218)


def _tile(image: Image.Image, caption: str) -> str:
    out = BytesIO()
    image.save(out, "JPEG", quality=80)
    data = b64encode(out.getvalue()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" '
        f'alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def confident_errors(main: Predictions, folder: Path, examples: int) -> str:
    """Return the most confident wrong answers of each attribute as pictures."""
    wrong = (labels_of(main, "shipped") != main.targets.astype(bool)) & main.known & main.detected[:, None]
    blocks, without = [], list[str]()
    for a, name in enumerate(main.attributes):
        tiles = []
        for said, words in ((1, "said yes, label no"), (0, "said no, label yes")):
            sure = main.shipped[:, a] if said else 1 - main.shipped[:, a]
            rows = np.flatnonzero(wrong[:, a] & (main.targets[:, a] != said))
            for row in rows[np.argsort(-sure[rows], kind="stable")][:examples]:
                tiles.append(
                    _tile(
                        fitted(folder / main.files[row], THUMBNAIL),
                        f"{main.files[row]}: {words}, prob {main.shipped[row, a]:.2f}",
                    )
                )
        if tiles:
            blocks.append(
                f'<details><summary>{escape(marked(name))}</summary><div class="tiles">{"".join(tiles)}</div></details>'
            )
        else:
            without.append(marked(name))
    said_first = ["The most confident wrong answers. Some of the labels are wrong instead."]
    said_last = [f"No wrong answer: {', '.join(without)}."] if without else []
    return paragraphs(said_first) + "".join(blocks) + paragraphs(said_last)


def maps(looked: Mapping[str, Overlays]) -> str:
    """Return where the network looks: an example per attribute, and the share of each map that lies inside the expected
    region."""
    rows, tiles = [], []
    for name, one in looked.items():
        share = None if np.isnan(one.share) else one.share
        times = "-" if share is None else f"{share / max(one.chance, 1e-9):.1f}"
        rows.append((marked(name), str(one.examples), percent(share), percent(one.chance), times))
        if one.overlay is not None:
            tiles.append(
                _tile(Image.fromarray(one.overlay), f"{name.replace('_', ' ')}: {percent(share, 0)}\u00a0% inside")
            )
    heads = ("attribute", "examples", "inside its region", "area of the region", "times chance")
    text = (
        "Energy of the map inside the region the attribute belongs to, on faces answered yes. Colour and strength grow "
        "with what speaks for yes; "
        "lines stand at a quarter, a half and three quarters of the most."
    )
    return f'<div class="tiles">{"".join(tiles)}</div>' + table(text, heads, rows)


def looked_at(
    main: Predictions, images: Path, network: Any, crop_of: Callable[[Path], Any], examples: int = 48
) -> dict[str, Overlays]:
    """Return where a network with maps looks, on evenly spaced images of the file; empty for a network without maps."""
    from lineament.report.overlays import overlays_of

    about = network.card.document.get("maps")
    if not about:
        return {}
    rows = np.unique(np.linspace(0, len(main) - 1, min(examples, len(main))).astype(int))
    crops = [crop_of(images / main.files[row]) for row in rows if (images / main.files[row]).is_file()]
    return overlays_of(crops, network.with_maps, about["of"], network.card.attributes)
