"""Find the cases of any folder or module with the case interface."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from neuraldbg.demos.case import Case

__all__ = ["collect"]


def collect(where: str) -> list[Case]:
    """Return the cases of a dotted module or of a folder.

    A module with ``CASES`` gives those; a package without gives the cases of its modules; a folder is
    read file by file. A module is a case when it has ``ID``, ``TRUTH`` and ``train``.
    """
    path = Path(where)
    modules = _of_folder(path) if path.is_dir() else _of_module(importlib.import_module(where))
    found: dict[str, Case] = {}
    for module in modules:
        for case in _cases(module):
            found.setdefault(case.id, case)
    if not found:
        message = f"no case in {where!r}: a module needs CASES, or ID, TRUTH and train"
        raise ValueError(message)
    return list(found.values())


def _of_module(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    if not hasattr(module, "CASES") and hasattr(module, "__path__"):
        for info in pkgutil.iter_modules(module.__path__):
            yield importlib.import_module(f"{module.__name__}.{info.name}")


def _of_folder(folder: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(folder.resolve()))
    for file in sorted(folder.glob("*.py")):
        if file.stem != "__init__":
            spec = importlib.util.spec_from_file_location(f"judged_{file.stem}", file)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                sys.modules[spec.name] = module
                spec.loader.exec_module(module)
                yield module


def _cases(module: ModuleType) -> Iterator[Any]:
    if hasattr(module, "CASES"):
        yield from module.CASES
    elif all(hasattr(module, name) for name in ("ID", "TRUTH", "train")):
        yield Case(
            id=module.ID,
            truth=module.TRUTH,
            train=module.train,
            family=getattr(module, "FAMILY", module.ID),
            title=getattr(module, "TITLE", module.ID),
        )
