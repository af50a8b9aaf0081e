"""The diagnosis as JSON: stable order, no NaN tokens, a schema version."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

from neuraldbg.records.diagnosis import Diagnosis

__all__ = ["SCHEMA_VERSION", "to_json"]

SCHEMA_VERSION = 1


def to_json(diagnosis: Diagnosis, *, indent: int | None = 1) -> str:
    """Return the whole diagnosis as JSON; numbers that are not finite become null."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "healthy": diagnosis.healthy,
        **_plain(diagnosis),
    }
    return json.dumps(body, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
