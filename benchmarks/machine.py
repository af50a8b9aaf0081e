"""What a result was measured on."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "pgmpy", "networkx", "numpy", "scipy", "pandas")


def facts() -> dict[str, Any]:
    """Return versions and machine of a result."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name).split("+")[0] for name in PACKAGES},
    }


def write(name: str, body: dict[str, Any]) -> Path:
    """Write a result with its machine beside it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"measured_on": facts(), **body}, indent=1) + "\n", encoding="utf-8")
    return path
