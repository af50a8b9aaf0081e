"""NeuralDBG: why did this training run fail? One sentence, with an honest probability.

Importing this package, and ``NeuralDbg`` from it, loads the standard library and numpy only. The first watcher loads
torch; pgmpy, scipy, networkx and pandas load when a diagnosis or a frame is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuraldbg.debugger import NeuralDbg
    from neuraldbg.distributed import merge
    from neuraldbg.errors import (
        CaptureWarning,
        NeuralDBGError,
        RecordingError,
        TrainingStopped,
        UnknownNameError,
        UsageError,
    )
    from neuraldbg.records.diagnosis import (
        CausalChain,
        CausalHypothesis,
        Coupling,
        Diagnosis,
        Explanation,
    )
    from neuraldbg.records.event import SemanticEvent
    from neuraldbg.saved import load

__version__ = "0.1.0"

__all__ = [
    "CaptureWarning",
    "CausalChain",
    "CausalHypothesis",
    "Coupling",
    "Diagnosis",
    "Explanation",
    "NeuralDBGError",
    "NeuralDbg",
    "RecordingError",
    "SemanticEvent",
    "TrainingStopped",
    "UnknownNameError",
    "UsageError",
    "load",
    "merge",
]

_HOMES = {
    "NeuralDbg": "neuraldbg.debugger",
    "load": "neuraldbg.saved",
    "merge": "neuraldbg.distributed",
    "CaptureWarning": "neuraldbg.errors",
    "NeuralDBGError": "neuraldbg.errors",
    "RecordingError": "neuraldbg.errors",
    "TrainingStopped": "neuraldbg.errors",
    "UnknownNameError": "neuraldbg.errors",
    "UsageError": "neuraldbg.errors",
    "CausalChain": "neuraldbg.records.diagnosis",
    "CausalHypothesis": "neuraldbg.records.diagnosis",
    "Coupling": "neuraldbg.records.diagnosis",
    "Diagnosis": "neuraldbg.records.diagnosis",
    "Explanation": "neuraldbg.records.diagnosis",
    "SemanticEvent": "neuraldbg.records.event",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
