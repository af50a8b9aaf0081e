"""A fault-injection corpus: small real training programs with known faults, and their healthy twins.

``python -m benchmarks.corpus run`` trains all of them under observation and keeps the recordings in a
local cache; ``benchmarks.corpus.table.load_runs`` reads them with their labels. The corpus is written from
what goes wrong in real programs, without a look at what the engine can detect.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CASES"]


def __getattr__(name: str) -> Any:
    if name == "CASES":
        from benchmarks.corpus.plan import plan

        return plan()
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
