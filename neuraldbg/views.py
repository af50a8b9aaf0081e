"""Records that show themselves in a notebook; the records below know nothing of reports."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from neuraldbg.records.diagnosis import CausalChain, Diagnosis, EventGraph

__all__ = ["ChainView", "DiagnosisView", "GraphView", "chain_view", "diagnosis_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView(EventGraph):
    """An event graph that draws itself."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from neuraldbg.report import graph_mimebundle  # noqa: PLC0415 - pandas loads with it

        return graph_mimebundle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainView(CausalChain):
    """A causal chain that lists itself."""

    # A generated __str__ of the subclass would hide the parent's.
    __str__ = CausalChain.__str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from neuraldbg.report import chain_html  # noqa: PLC0415 - pandas loads with it

        return {"text/plain": str(self), "text/html": chain_html(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisView(Diagnosis):
    """A diagnosis that shows verdict, causes and graph."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from neuraldbg.report import mimebundle  # noqa: PLC0415 - pandas loads with it

        return mimebundle(self)


def _values(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def chain_view(chain: CausalChain) -> ChainView:
    """Return the same chain as a view."""
    return ChainView(**_values(chain))


def diagnosis_view(diagnosis: Diagnosis) -> DiagnosisView:
    """Return the same diagnosis as a view, its graph too."""
    return DiagnosisView(**_values(diagnosis) | {"graph": GraphView(**_values(diagnosis.graph))})
