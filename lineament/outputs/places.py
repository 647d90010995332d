"""Where records go, looked at before the first photo: local files that can be written, and addresses in object stores.

    s3://bucket/out.jsonl -> a local file while the run lasts -> the store, with its sidecar

Convention: a store takes whole files only. So an output at an address is written to a temporary local file, which is
put there when the run ends, also when it is interrupted or fails; with --resume what is there is fetched first. A kill
in the middle leaves the store as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lineament.errors import UsageError
from lineament.inputs.expand import is_uri

STDOUT = "-"
_WITH = ("", ".run", ".journal")
"""An output and what may stand beside it."""


class OutputPlaces:
    """The outputs of a run by kind (`jsonl`, `csv` ...): `local` says where to write, `put` brings it to where it was
    asked for.

    Raises: UsageError, at once, for a place that cannot be written: a folder, no right, an address without its parts, a
        store that refuses.
    """

    def __init__(self, asked: Mapping[str, str | None]) -> None:
        self._cleanup, self._remote = ExitStack(), dict[str, RemoteFile]()
        self._asked = {kind: _local_of(path) for kind, path in asked.items() if path is not None}
        for kind, path in self._asked.items():
            if is_uri(path):
                folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lineament-"))
                self._remote[kind] = RemoteFile(path, Path(folder))
            else:
                check_writable(path)

    def local(self, *, resume: bool) -> dict[str, str]:
        """Return kind -> local file to write; with `resume` holding what the store has."""
        for remote in self._remote.values():
            if resume:
                remote.fetch()
        return {
            kind: str(self._remote[kind].local) if kind in self._remote else path for kind, path in self._asked.items()
        }

    def put(self) -> None:
        """Bring every output to its address. Raises: OSError."""
        with self._cleanup:
            for remote in self._remote.values():
                remote.put()


class RemoteFile:
    """One output at an address, and the local file that stands for it."""

    def __init__(self, uri: str, folder: Path) -> None:
        from lineament.inputs.object_store import store_of

        scheme, _, rest = uri.partition("://")
        bucket, _, name = rest.partition("?")[0].partition("/")
        if not bucket or not name or name.endswith("/"):
            raise UsageError(f"{uri} names no file. An address has a bucket and a file: {scheme}://BUCKET/FOLDER/FILE.")
        self.uri, self.local = uri, folder / PurePosixPath(name).name
        self._store, self._path = store_of(uri)
        self._try()

    def _try(self) -> None:
        """Write an empty file beside the one to come, and remove it."""
        probe = f"{self._path}.probe"
        try:
            with self._store.open_output_stream(probe):
                pass
            self._store.delete_file(probe)
        except OSError as error:
            said = str(error).splitlines()[0]
            raise UsageError(
                f"Cannot write to {self.uri}: {said}. Check the bucket, its rights and the credentials in the "
                "environment."
            ) from error

    def fetch(self) -> None:
        """Bring what the store has here."""
        for end in _WITH:
            with (
                suppress(FileNotFoundError),
                self._store.open_input_stream(self._path + end) as source,
                self._local(end).open("wb") as file,
            ):
                shutil.copyfileobj(source, file)

    def put(self) -> None:
        """Bring what is here to the store; what is not here any more goes there too."""
        for end in _WITH:
            if self._local(end).is_file():
                with self._local(end).open("rb") as file, self._store.open_output_stream(self._path + end) as target:
                    shutil.copyfileobj(file, target)
            elif end and self._info(end) == "File":
                self._store.delete_file(self._path + end)

    def _local(self, end: str) -> Path:
        return self.local.with_name(self.local.name + end)

    def _info(self, end: str) -> Any:
        return self._store.get_file_info(self._path + end).type.name


def _local_of(path: str) -> str:
    """Return the local path of a file:// address; everything else as it is."""
    return unquote(urlsplit(path).path) if path.startswith("file:///") else path


def check_writable(path: str) -> None:
    """Refuse a local output that cannot be written. Nothing is made. Raises: UsageError naming the reason."""
    if path == STDOUT:
        return
    if not path or path.endswith(("/", os.sep)) or Path(path).is_dir():
        raise UsageError(f"Cannot write {path or 'to nowhere'}: it is a folder. Name a file in it.")
    if os.path.lexists(path):
        if not os.access(path, os.W_OK):
            raise UsageError(f"Cannot write {path}: {_refusal(path)}. Name a file in a folder that you may write to.")
        return
    above = next(folder for folder in Path(path).absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UsageError(f"Cannot write {path}: {above} is no folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"Cannot write {path}: this user may not write to {above}. Name a file in a folder that you may write to."
        )


def _refusal(path: str) -> str:
    """Return why a file that is there may not be written: its disk, or this user's rights."""
    flags = os.statvfs(path).f_flag if hasattr(os, "statvfs") else 0
    return "Read-only file system" if flags & getattr(os, "ST_RDONLY", 0) else "this user may not"
