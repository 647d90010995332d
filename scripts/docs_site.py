"""Hooks of the documentation site (mkdocs.yml): navigation, pages made from the code, files that lie outside docs/.

    pyproject's command line -> reference/cli.md      record.schema.json -> reference/records.md      the application's
        OpenAPI -> reference/http.md

Made pages exist in the build only. A link from a page to a file of the repository that is no page becomes plain text
with the file's path, so that the same Markdown reads well in the repository and on the site.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/release-notes.md",
    "THIRD_PARTY.md": "about/third-party.md",
}
"""Files of the repository's root that are pages of the site."""
START = ("index.md", "getting-started.md", "how-it-works.md", "models.md", "model-card.md", "platform.md")
TRAINING = (
    "training.md",
    "training-data.md",
    "training-configs.md",
    "training-device.md",
    "training-resume.md",
    "reproduce.md",
    "training-comparison.md",
)
"""Pages of one guide, in the order of a reader's questions."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put every page into one of four parts: start, guides, reference, benchmarks."""
    pages = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    guides: list[Any] = [page for page in pages if "/" not in page and page not in (*START, *TRAINING)]
    reference = [
        "reference/cli.md",
        "reference/http.md",
        "reference/records.md",
        *(page for page in pages if page.startswith("reference/")),
    ]
    about = list(BESIDE.values()) + (["about/security.md"] if (ROOT / "SECURITY.md").is_file() else [])
    benchmarks = [page for page in pages if page.startswith("benchmarks/") and page != "benchmarks/README.md"]
    config["nav"] = [
        {"Start": [page for page in START if page in pages]},
        {"Guides": [{"Training": [page for page in TRAINING if page in pages]}, *guides]},
        {"Reference": [*sorted(set(reference)), {"About": about}]},
        {"Benchmarks": ["benchmarks/README.md", *benchmarks]},
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and those that lie in the repository's root."""
    beside = dict(BESIDE) | ({"SECURITY.md": "about/security.md"} if (ROOT / "SECURITY.md").is_file() else {})
    for source, page in beside.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, text in (
        ("reference/cli.md", cli_page()),
        ("reference/records.md", records_page()),
        ("reference/http.md", http_page()),
    ):
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that leave docs/ into links to the site's own page for them, or into the path as text."""
    here = page.file.src_uri
    source = next(
        (name for name, uri in {**BESIDE, "SECURITY.md": "about/security.md"}.items() if uri == here), f"docs/{here}"
    )

    def follow(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#|/", target):
            return match.group(0)
        path, _, anchor = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        uri = BESIDE.get(wanted) or (wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if uri is not None and files.get_file_from_path(uri) is not None and not uri.endswith((".json", ".ipynb")):
            place = posixpath.relpath(uri, posixpath.dirname(here) or ".")
            return f"{mark}[{text}]({place}{'#' + anchor if anchor else ''})"
        return f"{text} (`{wanted}`)" if text.strip("`") != wanted else f"`{wanted}`"

    # code blocks are left alone
    return "".join(
        part if at % 2 else _LINK.sub(follow, part)
        for at, part in enumerate(re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S))
    )


def cli_page() -> str:
    """Return every command with its arguments and options, as the program itself describes them."""
    from lineament.cli import COMMANDS, _load

    lines = [
        "# Command line",
        "",
        "As `lineament COMMAND --help` prints it. Exit status and formats: [the interface](interface.md).",
        "",
    ]
    for name in COMMANDS:
        command = _load(name)
        lines += [
            f"## {name}",
            "",
            _paragraphs(command.help or ""),
            "",
            "| argument or option | meaning | default |",
            "|---|---|---|",
        ]
        for param in command.params:
            if getattr(param, "hidden", False):
                continue
            words = (
                ", ".join(f"`{word}`" for word in (*param.opts, *param.secondary_opts))
                if param.param_type_name == "option"
                else ""
            )
            shown = words or f"`{param.metavar or param.name}`"
            kind = f" `{param.metavar}`" if words and param.metavar else ""
            default = "" if param.default in (None, False, ...) or callable(param.default) else f"`{param.default}`"
            lines.append(f"| {shown}{kind} | {_cell(getattr(param, 'help', '') or '')} | {default} |")
        lines.append("")
    return "\n".join(lines).replace("|N|", "\\|N\\|")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def records_page() -> str:
    """Return the record's JSON Schema as tables."""
    schema = json.loads((ROOT / "lineament" / "record.schema.json").read_text(encoding="utf-8"))
    lines = ["# Records", "", schema["description"], "", "Printed whole by `lineament schema`.", ""]
    for title, part in (("A record", schema), *((f"`{name}`", found) for name, found in schema["$defs"].items())):
        if part.get("type") == "object":
            lines += [f"## {title}", "", *_fields(part, ""), ""]
    return "\n".join(lines)


def _fields(part: Mapping[str, Any], prefix: str) -> list[str]:
    rows = ["| field | type | meaning |", "|---|---|---|"] if not prefix else []
    for name, about in part.get("properties", {}).items():
        optional = "" if name in part.get("required", ()) else " (optional)"
        rows.append(f"| `{prefix}{name}`{optional} | {_cell(_kind(about))} | {_cell(about.get('description', ''))} |")
        if about.get("type") == "object" and "properties" in about:
            rows += _fields(about, f"{prefix}{name}.")
    return rows


def _kind(about: Mapping[str, Any]) -> str:
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if "enum" in about or "const" in about:
        return " or ".join(f"`{json.dumps(value)}`" for value in about.get("enum", [about.get("const")]))
    kind: Sequence[str] | str = about.get("type", "object or null")
    of = f" of {_kind(about['items'])}" if kind == "array" else ""
    return (kind if isinstance(kind, str) else " or ".join(kind)) + of


def http_page() -> str:
    """Return the routes of the service from its OpenAPI document."""
    from lineament.serve.app import create_app

    document = create_app().openapi()
    lines = [
        "# HTTP",
        "",
        "The service's own OpenAPI document is at `/openapi.json`; limits and running it: [Serving](../serve.md).",
        "",
    ]
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            lines += [
                f"## {method.upper()} {path}",
                "",
                _paragraphs(about.get("description") or about.get("summary", "")),
                "",
            ]
            rows = [
                f"| `{p['name']}` | {_cell(_kind(p['schema']))} | {_cell(p.get('description', ''))} |"
                for p in about.get("parameters", ())
            ]
            lines += ["| parameter | type | meaning |", "|---|---|---|", *rows, ""] if rows else []
            lines += [
                "Answers: "
                + ", ".join(
                    f"{status} {_cell(found.get('description', ''))}" for status, found in about["responses"].items()
                ),
                "",
            ]
    return "\n".join(lines)
