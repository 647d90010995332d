"""What a forked child may not end: threads stay with the parent, and what waits for them would wait for ever."""

from __future__ import annotations

import ctypes


def never_end(compiled: object) -> None:
    """Keep something alive for ever: what was compiled before a fork belongs to threads that the child has not, and
    ending it ends the child.

    A reference is counted that nobody holds, so that the end of the interpreter does not free it either.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(compiled))
