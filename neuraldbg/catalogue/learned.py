"""The learned numbers as they are shipped: JSON beside this file, read into a record."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from neuraldbg.records.learned import ClaimMap, Learned, LocationWeights, OnsetError

__all__ = ["from_json", "shipped", "to_json"]

FILE = "learned.json"


def shipped() -> Learned | None:
    """Return the numbers that came with the package, None if there are none."""
    resource = files("neuraldbg.catalogue").joinpath(FILE)
    return from_json(resource.read_text(encoding="utf-8")) if resource.is_file() else None


def to_json(learned: Learned) -> str:
    """Return the numbers as JSON, stable and readable in a diff."""
    return json.dumps(asdict(learned), indent=1, sort_keys=True) + "\n"


def from_json(text: str) -> Learned:
    """Return the numbers of a JSON text."""
    body: dict[str, Any] = json.loads(text)
    body["location"] = LocationWeights(**body["location"])
    body["claim"] = ClaimMap(**body["claim"])
    body["onset"] = OnsetError(**body["onset"])
    return Learned(**body)
