"""Where the catalogue is told at length: one page of the checkout, and the command line."""

from __future__ import annotations

from neuraldbg.catalogue import EXPERTS

__all__ = ["PAGE", "UNKNOWN", "UNKNOWN_TEXT", "page_of"]

PAGE = "logic_graph.md"
# Nobody's record, and yet a hypothesis: it has its place on the page as well.
UNKNOWN = "unknown_cause"
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
