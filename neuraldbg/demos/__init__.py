"""Demo cases: small real models on real data with a named fault, and healthy programs that look odd."""

from neuraldbg.demos.case import Case
from neuraldbg.demos.faults import FAULTS
from neuraldbg.demos.healthy import HEALTHY
from neuraldbg.demos.loop import null_observe
from neuraldbg.errors import UnknownNameError

__all__ = ["CASES", "FAULTS", "HEALTHY", "Case", "find", "null_observe"]

CASES: tuple[Case, ...] = (*FAULTS, *HEALTHY)


def find(name: str) -> Case:
    """Return the case of this name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    for case in CASES:
        if case.id == name:
            return case
    raise UnknownNameError(name, "demo", (case.id for case in CASES))
