"""The questions that a run can be asked, whether it is watched right now or was saved long ago."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuraldbg.errors import UnknownNameError
from neuraldbg.records.event import FAILURE_KINDS, SemanticEvent

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from neuraldbg.records.catalogue import Catalogue
    from neuraldbg.records.diagnosis import CausalChain, CausalHypothesis, Coupling, Explanation
    from neuraldbg.records.recording import Recording
    from neuraldbg.views import DiagnosisView

__all__ = ["Answers"]

ALIASES = {"dead_neurons": "dead_units"}


class Answers(ABC):
    """Everything that can be asked of a recording; where it comes from is left to the subclass.

    Parameters
    ----------
    catalogue
        Detectors and mechanisms; None for the shipped ones.
    priors
        Replaces the prior probability of some mechanisms.
    """

    def __init__(
        self, *, catalogue: Catalogue | None = None, priors: Mapping[str, float] | None = None
    ) -> None:
        if catalogue is not None:
            from neuraldbg.extending import check_catalogue  # noqa: PLC0415

            check_catalogue(catalogue)
        self._own_catalogue = catalogue
        self._priors = dict(priors or {})
        if self._priors:
            # A wrong name must be told now, and not after a night of training.
            from neuraldbg.inference.noisyor import prior_table  # noqa: PLC0415

            prior_table(self._catalogue, self._priors)
        self._answer: tuple[Hashable, DiagnosisView] | None = None

    @property
    def _catalogue(self) -> Catalogue:
        # The shipped one loads with the first question: a run that nobody asks about does not wait for it.
        from neuraldbg.catalogue import DEFAULT  # noqa: PLC0415

        return DEFAULT if self._own_catalogue is None else self._own_catalogue

    @property
    @abstractmethod
    def recording(self) -> Recording:
        """What was seen so far."""

    @abstractmethod
    def _state_of_run(self) -> Hashable:
        """Return something that changes when the answer may change."""

    def diagnose(self) -> DiagnosisView:
        """Return the whole diagnosis; computed once per state of the run."""
        # scipy, networkx and pandas load with the first question, not with the first import.
        from neuraldbg.pipeline import diagnose  # noqa: PLC0415
        from neuraldbg.views import diagnosis_view  # noqa: PLC0415

        state = self._state_of_run()
        if self._answer is None or self._answer[0] != state:
            found = diagnose(self.recording, self._catalogue, priors=self._priors)
            self._answer = (state, diagnosis_view(found))
        return self._answer[1]

    def explain_failure(self, failure: str | None = None) -> list[Explanation]:
        """Return explanations, most probable first; empty for a run that looks healthy.

        ``diagnose().reason`` says why the list is empty.

        Parameters
        ----------
        failure
            Ask why *this* happened: one of the failure kinds, such as ``"vanishing_gradients"``.

        Raises
        ------
        UnknownNameError
            If there is no such failure kind.
        """
        diagnosis = self.diagnose()
        if failure is None:
            return list(diagnosis.explanations)
        from neuraldbg.pipeline import explain  # noqa: PLC0415

        return explain(diagnosis, _failure_kind(failure), self._catalogue)

    def get_causal_hypotheses(self, min_probability: float = 0.05) -> list[CausalHypothesis]:
        """Return hypotheses whose mechanism has at least this posterior, most probable first."""
        return [h for h in self.diagnose().hypotheses if h.p_mechanism >= min_probability]

    def trace_causal_chain(self, failure: str) -> CausalChain:
        """Return the path from root to symptom in the event graph.

        Raises
        ------
        UnknownNameError
            If there is no such failure kind.
        """
        kind = _failure_kind(failure)
        from neuraldbg.pipeline import chain_to  # noqa: PLC0415
        from neuraldbg.views import chain_view  # noqa: PLC0415

        return chain_view(chain_to(self.diagnose(), kind))

    def detect_coupled_failures(self) -> list[Coupling]:
        """Return pairs of mechanisms or events that go together, with lift and lag."""
        return list(self.diagnose().couplings)

    @property
    def events(self) -> tuple[SemanticEvent, ...]:
        """Semantic events in causal order."""
        return self.diagnose().events

    def events_frame(self) -> pd.DataFrame:
        """Return the events as a pandas frame, one row each."""
        from neuraldbg.report import events_frame  # noqa: PLC0415

        return events_frame(self.diagnose())

    def hypotheses_frame(self) -> pd.DataFrame:
        """Return the hypotheses as a pandas frame, one row each."""
        from neuraldbg.report import hypotheses_frame  # noqa: PLC0415

        return hypotheses_frame(self.diagnose())

    def steps_frame(self) -> pd.DataFrame:
        """Return run-wide numbers as a pandas frame, one row per optimizer step."""
        from neuraldbg.report import steps_frame  # noqa: PLC0415

        return steps_frame(self.recording)

    def layers_frame(self) -> pd.DataFrame:
        """Return numbers of layers as a pandas frame, one row per sampled step and layer."""
        from neuraldbg.report import layers_frame  # noqa: PLC0415

        return layers_frame(self.recording)

    def causal_graph(self) -> nx.DiGraph:
        """Return the event graph as a networkx graph with typed attributes."""
        from neuraldbg.graph import to_networkx  # noqa: PLC0415

        return to_networkx(self.diagnose().graph)

    def export_graph(self, path: str | Path) -> Path:
        """Write the event graph; the suffix chooses JSON, GraphML, GEXF, DOT, Mermaid or SVG.

        Raises
        ------
        ExportError
            If the suffix is unknown.
        """
        from neuraldbg.export import write_graph  # noqa: PLC0415

        return write_graph(self.diagnose(), Path(path))

    def report(self, path: str | Path) -> Path:
        """Write the diagnosis as one HTML file that needs nothing else, and return its path.

        Raises
        ------
        ExportError
            If the file cannot be written.
        """
        from neuraldbg.export import write_report  # noqa: PLC0415

        return write_report(self.diagnose(), self.recording, self._catalogue, Path(path))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from neuraldbg.report import mimebundle  # noqa: PLC0415

        return mimebundle(self.diagnose())


def _failure_kind(name: str) -> str:
    kind = ALIASES.get(name, name)
    if kind not in FAILURE_KINDS:
        raise UnknownNameError(name, "failure", (*FAILURE_KINDS, *ALIASES))
    return kind
