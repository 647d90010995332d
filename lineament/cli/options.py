"""Options that many commands share: one spelling, one help text.

Use them as annotations: `def command(model: Model = "default", runtime: Runtime = "onnx") -> None`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="Shipped model name or ONNX file.")]
Runtime = Annotated[
    str, typer.Option("--runtime", metavar="NAME", help="onnx, openvino, cuda, coreml or auto (a measured probe).")
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", help="fp32 (default), bf16 or int8; never changes by itself."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads to use; by default the CPUs this process may use.")
]
SmallFaces = Annotated[
    str,
    typer.Option(
        "--small-faces",
        metavar="never|auto|always",
        help="Search at the photo's own scale; auto: where the coarse passes do not do.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress or summary on stderr; errors still are.")]
IdColumn = Annotated[
    str | None, typer.Option("--id", metavar="COL", help="A column of the input table: each record's key, as id.")
]
KeepColumns = Annotated[
    str | None,
    typer.Option(
        "--keep-columns", metavar="LIST", help="Columns of the input table that come along into every output."
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        "--path-column", metavar="COL", help="Column of the input tables with paths or s3://... addresses of photos."
    ),
]
Profile = Annotated[
    str, typer.Option("--profile", metavar="default|all", help="default leaves out attributes that judge or profile.")
]
Abstain = Annotated[
    bool, typer.Option("--abstain", help='Answer "cannot_tell" where the card says the model is unsure.')
]
Rates = Annotated[
    Path | None,
    typer.Option(
        "--rates",
        metavar="FILE",
        help="CSV or JSON: attribute and share of yes among your people; moves the probabilities.",
    ),
]
With = Annotated[
    list[Path] | None,
    typer.Option(
        "--with", metavar="FILE", help="Answer this own attribute too (`lineament teach` makes the file). Repeatable."
    ),
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; - is stdout.")]
