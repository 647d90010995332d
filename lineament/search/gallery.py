"""Results as one HTML file that needs nothing else: thumbnails inside it, no script from elsewhere, works offline and
by keyboard.

Convention: the pictures in it are the user's own photos, shrunk and written into the file; nothing is sent anywhere. A
content security policy in the page allows its own style and script (by hash) and inlined pictures, and no connection at
all.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lineament.search.bursts import RankedShot
from lineament.search.index import Hit, SearchResult
from lineament.search.thumbnails import photo_thumbnail, thumbnail
from lineament.visual.contact_sheet import Thumbnail, visible
from lineament.visual.stylesheet import BRAND, base_css

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 224
BARS = 8

_SCRIPT = """
const cards=[...document.querySelectorAll(".hit a")];
const topOf=card=>Math.round(card.getBoundingClientRect().top);
document.addEventListener("keydown",event=>{
  if(event.altKey||event.ctrlKey||event.metaKey||!cards.length)return;
  const here=cards.indexOf(document.activeElement),line=topOf(cards[Math.max(here,0)]);
  const row=cards.filter(card=>topOf(card)===line).length;
  const step={ArrowRight:1,ArrowLeft:-1,ArrowDown:row,ArrowUp:-row}[event.key];
  let to;
  if(event.key==="Home")to=0;
  else if(event.key==="End")to=cards.length-1;
  else if(step!==undefined)to=here<0?0:here+step;
  if(to===undefined||!cards[to])return;
  event.preventDefault();
  cards[to].focus();
});
"""


def hits_page(found: SearchResult) -> str:
    """Return the hits as a self-contained page: face, score, file and the probabilities that the query names."""
    cards = "".join(_hit_card(rank, hit, found) for rank, hit in found.numbered())
    facts = (
        f"{found.matched} faces in {found.photos} photos match; {found.shown}, best first. Index of "
        f"{found.indexed_faces} faces."
    )
    none = "<p><strong>No face matches.</strong> Try fewer terms, or --loose to rank every face.</p>"
    body = f'<ol class="hits">{cards}</ol>' if cards else none
    return _page(found.query or "every face", [facts, f"Model {found.model}, profile {found.profile}."], body)


def bursts_page(groups: Sequence[Sequence[RankedShot]], model: str, offset: int = 0) -> str:
    """Return bursts as a self-contained page, the best shot of each first; numbered on from `offset`."""
    parts = []
    for number, group in enumerate(groups, offset + 1):
        cards = "".join(_shot_card(place, entry) for place, entry in enumerate(group, 1))
        parts.append(f'<h2>Burst {number}: {len(group)} photos</h2><ol class="hits">{cards}</ol>')
    facts = (
        "Photos of one moment, the one where everyone most likely smiles with open eyes first. Score: the two "
        "probabilities multiplied."
    )
    body = f'<div class="bursts">{"".join(parts)}</div>' if parts else "<p><strong>No burst found.</strong></p>"
    return _page("Best shots", [facts, f"Model {model}."], body)


def _hit_card(rank: int, hit: Hit, found: SearchResult) -> str:
    named = [name for name in found.mentioned if name in hit.attributes][:BARS]
    rows = "".join(_bar(name.replace("_", " "), hit.attributes[name]) for name in named)
    picture = _picture(thumbnail(hit, SIZE), f"Face {hit.face + 1} of {visible(Path(hit.path).name)}")
    return _card(hit.path, picture, f"{rank}. score {hit.score:.3f}", rows)


def _shot_card(place: int, entry: RankedShot) -> str:
    picture = _picture(photo_thumbnail(entry.shot.path, SIZE), visible(Path(entry.shot.path).name))
    faces = f'<li><span>faces</span><span></span><span class="prob">{entry.faces}</span></li>'
    rows = _bar("everyone smiles", entry.smiling) + _bar("eyes open", entry.eyes_open) + faces
    return _card(entry.shot.path, picture, f"{place}. score {entry.score:.3f}", rows, best=place == 1)


def _card(path: str, picture: str, title: str, rows: str, *, best: bool = False) -> str:
    name, link = escape(visible(Path(path).name)), _link(path)
    badge = f'<span class="badge">{escape(title)}</span>'
    more = f'<ul class="small-rows">{rows}</ul>' if rows else ""
    return (
        f'<li class="hit{" best" if best else ""}"><a {link} title="{escape(visible(path), quote=True)}">'
        f'<div class="thumb">{picture}{badge}</div><p class="file">{name}</p>{more}</a></li>'
    )


def _link(path: str) -> str:
    """Return the attribute that opens a photo: a file, or an address of the web; others (a store's, a script's) are
    only reached by keys."""
    place = (
        Path(path).as_uri() if Path(path).is_absolute() else path if path.startswith(("https://", "http://")) else None
    )
    return 'tabindex="0"' if place is None else f'href="{escape(visible(place), quote=True)}"'


def _bar(name: str, prob: float) -> str:
    bar = (
        '<svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect '
        f'width="{100 * prob:.1f}" height="6"/></svg>'
    )
    return f'<li><span>{escape(name)}</span>{bar}<span class="prob">{prob:.2f}</span></li>'


def _picture(thumb: Thumbnail, text: str) -> str:
    if thumb.image is None:
        return f"<span>{escape(thumb.note or '')}</span>"
    return (
        f'<img alt="{escape(text, quote=True)}" src="{_data_url(thumb.image)}" width="{SIZE}" height="{SIZE}" '
        'loading="lazy">'
    )


def _data_url(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _page(title: str, facts: Sequence[str], body: str) -> str:
    shown, style = escape(visible(title)), base_css()
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(_SCRIPT)}; base-uri 'none'; "
        "form-action 'none'"
    )
    notes = "".join(f'<p class="quiet">{escape(visible(fact))}</p>' for fact in facts)
    keys = '<span class="keys">Arrow keys move, Enter opens the photo. </span>'
    hint = f"{keys}Scores assume that answers are independent; they rank, they do not promise."
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" '
        'content="no-referrer">'
        f"<title>{shown} - Lineament</title><style>{style}</style></head><body "
        f'class="doc"><header>{BRAND}<h1>{shown}</h1>{notes}'
        f'<p class="quiet">{hint}</p></header><main id="main">{body}</main><footer><p class="quiet">Made by Lineament, '
        f"{date.today().isoformat()}. "
        f"This file is complete: it loads nothing.</p></footer><script>{_SCRIPT}</script></body></html>\n"
    )
