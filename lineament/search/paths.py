"""What a row's place in an index means as a path.

A root is an indexed folder, absolute, and its rows hold paths below it; or `from:` and the file (records, a table, an
archive) that its rows came out of, and they hold whole sources: paths, addresses, FILE::MEMBER.
"""

from __future__ import annotations

import os

FROM = b"from:"


def full_path(root: bytes, relative: bytes) -> str:
    """Return the path, address or FILE::MEMBER of a row, as the file system spells it.

    >>> full_path(b"/photos", b"a/b.jpg"), full_path(b"from:/x.jsonl", b"s3://bucket/a.jpg")
    ('/photos/a/b.jpg', 's3://bucket/a.jpg')
    """
    if root.startswith(FROM):
        return os.fsdecode(relative)
    return os.path.join(os.fsdecode(root), *os.fsdecode(relative).split("/"))  # noqa: PTH118 - Path would drop nothing, but costs more
