"""What a result was measured on."""

from __future__ import annotations

import json
import math
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
        **_accelerator(),
    }


def _accelerator() -> dict[str, str]:
    import torch

    return {"device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def write(name: str, body: dict[str, Any]) -> Path:
    """Write a result with its machine beside it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({"measured_on": facts(), **_plain(body)}, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    """Return a value in which numbers that are not finite became null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
