"""A private cache of runs: one small JSON with label and outcome, one file with the recording."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["CACHE", "Store", "corpus_hash"]

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "corpus"


def corpus_hash() -> str:
    """Return a hash of everything that decides what a run is."""
    digest = hashlib.sha256()
    skipped = {"run.py", "__main__.py", "store.py", "table.py", "judge.py", "survey.py"}
    for path in sorted(HERE.rglob("*.py")):
        if path.name not in skipped:
            digest.update(path.relative_to(HERE).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Store:
    """Runs in a folder; a run exists when its JSON does, which is written last."""

    folder: Path = CACHE

    def _path(self, run_id: str, suffix: str) -> Path:
        return self.folder / f"{run_id}{suffix}"

    def has(self, run_id: str) -> bool:
        """Return whether a run is stored."""
        return self._path(run_id, ".json").exists()

    def write(self, run_id: str, body: dict[str, Any], recording: Any) -> None:
        """Store a run; ``recording`` may be None for runs that were not watched."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if recording is not None:
            self._path(run_id, ".rec").write_bytes(pickle.dumps(recording, protocol=5))
        waiting = self._path(run_id, ".tmp")
        waiting.write_text(json.dumps(body, allow_nan=True), encoding="utf-8")
        waiting.replace(self._path(run_id, ".json"))

    def read(self, run_id: str) -> dict[str, Any]:
        """Return label and outcome of a run."""
        return json.loads(self._path(run_id, ".json").read_text(encoding="utf-8"))

    def recording(self, run_id: str) -> Any:
        """Return what was seen of a run; only files that this machine wrote are read."""
        found = pickle.loads(self._path(run_id, ".rec").read_bytes())  # noqa: S301 - own private cache
        return _completed(found)

    def ids(self) -> Iterator[str]:
        """Return the names of all stored runs, in order."""
        return (path.name.removesuffix(".json") for path in sorted(self.folder.glob("*.json")))


def _completed(recording: Any) -> Any:
    """Return a recording whose parameters have all fields, those that came later with what they are by default."""
    for parameter in recording.topology.params:
        for field in fields(parameter):
            if not hasattr(parameter, field.name):
                object.__setattr__(parameter, field.name, field.default)
    return recording
