"""Programs of this repository that no package holds, as modules to test: scripts/NAME.py and others by path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def script(name: str) -> ModuleType:
    """Return scripts/NAME.py, run anew, with the other scripts beside it to import."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    return module_at(SCRIPTS / f"{name}.py", name)


def module_at(path: Path, name: str) -> ModuleType:
    """Return the module of a file under a name, by which dataclasses look it up."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
