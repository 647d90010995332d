"""The style sheet and the palette: one CSS file, read by pages as it is and by pictures for its day colours.

base.css -> text in a page's <style>, or /static/base.css
base.css -> "--accent: #0f6b5c" -> colour("accent")
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

MARK = (
    '<svg viewBox="3 1 20 30" width="22" height="33" aria-hidden="true"><path d="M19 3.5c-6 0-9.8 3.6-9.8 9 0 1.9-2.6 '
    "4.3-3 5.3-.3.8.4 1.2 1.2 "
    "1.4.8.3.5 1 .3 1.6-.2.6.5.9.5 1.4s-.7.8-.5 1.5c.1.6.6.8.6 1.5 0 1.6.8 2.4 2.6 2.3 1.8-.1 3.3-.3 4 .6.5.7.6 1.5.6 "
    '2.4"/>'
    '<path class="thin" d="M13 14.200c1-.9 2.3-.9 3.2 0"/></svg>'
)
"""The product's mark, an inline SVG."""
BRAND = f'<span class="brand">{MARK}<span>Lineament</span></span>'


@cache
def base_css() -> str:
    """Return the style sheet that every page shares."""
    return files("lineament.visual").joinpath("base.css").read_text(encoding="utf-8")


@cache
def _day_colours() -> dict[str, str]:
    root = base_css().split(":root {", 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", root))


def colour(name: str) -> str:
    """Return one of the day colours as "#rrggbb", for pictures. Raises: KeyError for a name that the style sheet does
    not have.

    >>> colour("accent")
    '#0f6b5c'
    """
    return _day_colours()[name]
