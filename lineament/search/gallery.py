"""Results as one HTML file that needs nothing else: thumbnails inside it, no script from elsewhere, works offline and by keyboard.

Convention: the pictures in it are the user's own photos, shrunk and written into the file; nothing is sent anywhere. A content security
policy in the page allows its own style and script (by hash) and inlined pictures, and no connection at all.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lineament.search.bursts import RankedShot
from lineament.search.index import Hit, SearchResult
from lineament.search.thumbnails import Thumbnail, photo_thumbnail, thumbnail, visible

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 224
BARS = 8

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--dim:#5c5c5c;--paper:#fafafa;--card:#fff;--line:#d8d8d8;--bar:#2f6fb3}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--dim:#a8a8a8;--paper:#161616;--card:#222;--line:#3a3a3a;--bar:#7fb2ea}}
*{box-sizing:border-box}
body{margin:0;padding:1rem;background:var(--paper);color:var(--ink);font:15px/1.4 system-ui,sans-serif}
h1{font-size:1.2rem;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1rem;margin:1.4rem 0 .5rem}
p{margin:.2rem 0;color:var(--dim);max-width:60rem}
ol{list-style:none;margin:1rem 0;padding:0;display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(224px,100%),1fr))}
li{background:var(--card);border:1px solid var(--line);border-radius:6px;overflow:hidden}
li.best{border:2px solid var(--bar)}
a{color:inherit;text-decoration:none;display:block;height:100%}
a:focus-visible{outline:3px solid var(--bar);outline-offset:-3px}
img,.none{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:contain;background:#8883}
.none{display:grid;place-items:center;padding:1rem;text-align:center;color:var(--dim)}
.text{padding:.5rem .6rem}
.name{overflow-wrap:anywhere;font-size:.85rem}
.score{font-weight:600}
dl{margin:.4rem 0 0;font-size:.8rem}
dl div{display:flex;gap:.4rem;align-items:center}
dt{flex:1;color:var(--dim)}
dd{margin:0;font-variant-numeric:tabular-nums}
meter{width:4.5rem;height:.7rem}
"""

_SCRIPT = """
const cards=[...document.querySelectorAll("li a")];
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
    cards = "".join(_hit_card(rank, hit, found) for rank, hit in enumerate(found.hits, 1))
    facts = f"{found.matched} faces in {found.photos} photos match; {len(found.hits)} shown, best first. Index of {found.indexed_faces} faces."
    body = f"<ol>{cards}</ol>" if cards else "<p><strong>No face matches.</strong> Try fewer terms, or --loose to rank every face.</p>"
    return _page(found.query or "every face", [facts, f"Model {found.model}, profile {found.profile}."], body)


def bursts_page(groups: Sequence[Sequence[RankedShot]], model: str) -> str:
    """Return bursts as a self-contained page, the best shot of each first."""
    sections = []
    for number, group in enumerate(groups, 1):
        cards = "".join(_shot_card(place, entry) for place, entry in enumerate(group, 1))
        sections.append(f"<h2>Burst {number}: {len(group)} photos</h2><ol>{cards}</ol>")
    facts = "Photos of one moment, the one where everyone most likely smiles with open eyes first. Score: the two probabilities multiplied."
    return _page("Best shots", [facts, f"Model {model}."], "".join(sections) or "<p><strong>No burst found.</strong></p>")


def _hit_card(rank: int, hit: Hit, found: SearchResult) -> str:
    named = [name for name in found.mentioned if name in hit.attributes][:BARS]
    rows = "".join(f"<div><dt>{escape(name.replace('_', ' '))}</dt>{_bar(hit.attributes[name])}</div>" for name in named)
    picture = _picture(thumbnail(hit, SIZE), f"Face {hit.face + 1} of {visible(Path(hit.path).name)}")
    return _card(hit.path, picture, f"{rank}. score {hit.score:.3f}", f"<dl>{rows}</dl>" if rows else "")


def _shot_card(place: int, entry: RankedShot) -> str:
    picture = _picture(photo_thumbnail(entry.shot.path, SIZE), visible(Path(entry.shot.path).name))
    rows = f"<div><dt>everyone smiles</dt>{_bar(entry.smiling)}</div><div><dt>eyes open</dt>{_bar(entry.eyes_open)}</div>"
    faces = f"<div><dt>faces</dt><dd>{entry.faces}</dd></div>"
    return _card(entry.shot.path, picture, f"{place}. score {entry.score:.3f}", f"<dl>{rows}{faces}</dl>", best=place == 1)


def _card(path: str, picture: str, title: str, more: str, *, best: bool = False) -> str:
    name = escape(visible(Path(path).name))
    link = escape(Path(path).as_uri(), quote=True)
    kind = ' class="best"' if best else ""
    text = f'<div class="text"><div class="score">{title}</div><div class="name">{name}</div>{more}</div>'
    return f'<li{kind}><a href="{link}" title="{escape(visible(path), quote=True)}">{picture}{text}</a></li>'


def _bar(prob: float) -> str:
    return f'<dd><meter min="0" max="1" value="{prob:.4f}">{prob:.2f}</meter></dd><dd>{prob:.2f}</dd>'


def _picture(thumb: Thumbnail, text: str) -> str:
    if thumb.image is None:
        return f'<div class="none">{escape(thumb.note or "")}</div>'
    return f'<img alt="{escape(text, quote=True)}" src="{_data_url(thumb.image)}" width="{SIZE}" height="{SIZE}" loading="lazy">'


def _data_url(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _page(title: str, facts: Sequence[str], body: str) -> str:
    shown = escape(visible(title))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; base-uri 'none'; form-action 'none'"
    notes = "".join(f"<p>{escape(visible(fact))}</p>" for fact in facts)
    hint = "Arrow keys move, Enter opens the photo. Scores assume that answers are independent; they rank, they do not promise."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{shown} - Lineament</title><style>{_STYLE}</style></head><body><main><h1>{shown}</h1>{notes}<p>{hint}</p>{body}</main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
