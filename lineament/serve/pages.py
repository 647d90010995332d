"""The page's files: read once at the start, served from memory by exact name. No request ever becomes a path.

/ -> index.html    /static/NAME -> NAME    /static/base.css -> visual/base.css    /example -> the bundled portrait
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from lineament.visual.stylesheet import base_css

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json", ".png": "image/png", ".jpg": "image/jpeg",
}  # fmt: skip


@dataclass(frozen=True)
class Asset:
    """One file in memory. etag: changes with its content."""

    data: bytes
    media_type: str
    etag: str

    def response(self, request: Request) -> Response:
        """Return the file, or 304 where the client has it already."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.data, headers=headers, media_type=self.media_type)


def load_assets(package: str = "lineament.serve", folder: str = "static") -> dict[str, Asset]:
    """Return the page's files by name, and the style sheet that all pages of the package share."""
    found = {}
    for entry in files(package).joinpath(folder).iterdir():
        media_type = _MEDIA_TYPES.get(_suffix(entry.name))
        if entry.is_file() and media_type is not None:
            found[entry.name] = _asset(entry.read_bytes(), media_type)
    found["base.css"] = _asset(base_css().encode("utf-8"), _MEDIA_TYPES[".css"])
    return found


def load_example() -> Asset | None:
    """Return the bundled public-domain portrait; None in an installation without it."""
    for entry in files("lineament").joinpath("weights").iterdir():
        if entry.name.startswith("astronaut.") and _suffix(entry.name) in (".png", ".jpg"):
            return _asset(entry.read_bytes(), _MEDIA_TYPES[_suffix(entry.name)])
    return None


def _asset(data: bytes, media_type: str) -> Asset:
    return Asset(data, media_type, f'"{sha256(data).hexdigest()[:16]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
