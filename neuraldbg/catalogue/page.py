"""Where the catalogue is told at length: one page of the checkout, and the command line."""

from __future__ import annotations

from collections.abc import Iterable

from neuraldbg.catalogue import EXPERTS
from neuraldbg.records.catalogue import Mechanism

__all__ = ["PAGE", "UNKNOWN", "UNKNOWN_TEXT", "page_of", "refutations"]

PAGE = "logic_graph.md"
# Nobody's record, and yet a hypothesis: it has its place on the page as well.
UNKNOWN = "unknown_cause"
# Odds are at least halved by what is told to speak against a mechanism.
REFUTES = 0.5
UNKNOWN_TEXT = """\
unknown_cause: a cause that is not in the catalogue
    The run behaves unlike a healthy one, and no listed mechanism accounts for what was seen better than
    something unlisted would. It takes its share of the posterior beside the listed mechanisms, so that a run
    with a new kind of fault is not blamed on the nearest old one.
    try compare with a run that worked (neuraldbg compare A B), or overfit one batch to split data from model
    page logic_graph.md#unknown_cause"""


def page_of(mechanism: str) -> str:
    """Return where to read on about a mechanism; empty for one that a user has added."""
    if mechanism not in {*EXPERTS.slugs(), UNKNOWN}:
        return ""
    return f"neuraldbg show mechanisms {mechanism}, or {PAGE}#{mechanism}"


def refutations(ways: Iterable[Mechanism]) -> dict[str, float]:
    """Return the events that speak against a mechanism, with what they multiply its odds by.

    A learned factor may also correct the weight of a mechanism's own evidence, or hardly move its odds: that
    refutes nothing.
    """
    ways = list(ways)
    own = {e.event for way in ways for e in way.effects}
    found = {e.event: e.link for way in ways for e in way.forbids}
    return {name: link for name, link in found.items() if name not in own and link < REFUTES}
