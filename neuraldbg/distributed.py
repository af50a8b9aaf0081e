"""A run of several ranks: their saved recordings merged into one that answers the same questions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from neuraldbg.answers import Answers
from neuraldbg.catalogue import DEFAULT
from neuraldbg.errors import RecordingError
from neuraldbg.merging import Merger
from neuraldbg.recording import head_of, read_recording
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.diagnosis import CausalHypothesis, Diagnosis, Explanation
from neuraldbg.records.event import StepSpan
from neuraldbg.records.ranks import Drift, Ranks, named
from neuraldbg.records.recording import Recording
from neuraldbg.views import DiagnosisView, diagnosis_view

__all__ = ["MergedRun", "merge", "recordings_in"]

# Replicas that do not agree are a fact and no guess, but some methods let them differ on purpose (local SGD).
# A judgement: there is no corpus of distributed runs to learn it from.
MEANT_OTHERWISE = 0.05


class MergedRun(Answers):
    """The recordings of all ranks of one run, to be asked like the recording of one process.

    Parameters
    ----------
    paths
        One recording a rank. They are read one after the other: memory does not grow with their number
        times their size.
    catalogue
        Detectors and mechanisms.
    priors
        Replaces the prior probability of some mechanisms.

    Attributes
    ----------
    ranks
        What the recordings say of one another: which rank failed first, and which drift apart.

    Raises
    ------
    RecordingError
        If a file cannot be read as a recording, or they are not of one run.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        catalogue: Catalogue = DEFAULT,
        priors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(catalogue=catalogue, priors=priors)
        merger = Merger()
        for path in paths:
            recording = read_recording(path)
            rank, count = _place(path, recording)
            merger.take(rank, recording, count=count)
        self._recording = merger.recording()
        self.ranks: Ranks = merger.ranks()

    @property
    def recording(self) -> Recording:
        """The recording of the run: batches averaged, shards joined, the worst of what spoils all."""
        return self._recording

    def diagnose(self) -> DiagnosisView:
        """Return the whole diagnosis, with the ranks told in it; computed once."""
        found = super().diagnose()
        if "ranks" not in found.facts:
            found = diagnosis_view(told_with_ranks(found, self.ranks))
            self._answer = (self._state_of_run(), found)
        return found

    def _state_of_run(self) -> Hashable:
        return "merged"

    def __repr__(self) -> str:
        return f"MergedRun({self.ranks})"


def _place(path: str | Path, recording: Recording) -> tuple[int, int]:
    """Return rank and number of ranks; the recording knows better than the head that was written first."""
    head = {**head_of(path), **recording.facts}
    rank, count = head.get("rank"), head.get("ranks")
    return (rank if isinstance(rank, int) else 0), (count if isinstance(count, int) else 1)


def merge(
    paths: str | Path | Iterable[str | Path],
    *,
    catalogue: Catalogue = DEFAULT,
    priors: Mapping[str, float] | None = None,
) -> MergedRun:
    """Return the run of several ranks that answers the same questions as one process; torch is not needed.

    Parameters
    ----------
    paths
        The recordings of its ranks, as ``NeuralDbg(model, save="run.ndbg")`` wrote them in each process, or
        the folder that they lie in.
    catalogue, priors
        As for ``NeuralDbg``.

    Raises
    ------
    RecordingError
        If there is none, one cannot be read, or they are not of one run.
    """
    single = isinstance(paths, (str, Path))
    found = recordings_in(Path(paths)) if isinstance(paths, (str, Path)) else list(paths)
    if not found:
        where = f" in {str(paths)!r}" if single else ""
        msg = f"there is no recording (*.ndbg){where} to merge"
        raise RecordingError(msg)
    return MergedRun(found, catalogue=catalogue, priors=priors)


def recordings_in(path: Path) -> list[str | Path]:
    """Return the recordings of a folder; of a file only itself."""
    return [*sorted(path.glob("*.ndbg"))] if path.is_dir() else [path]


# -- telling it ---------------------------------------------------------------------------------


def told_with_ranks(found: Diagnosis, ranks: Ranks) -> Diagnosis:
    """Return a diagnosis that names the rank that was first, and says if replicas drift apart."""
    drift = ranks.unsynchronized
    told = tuple(_told(e, ranks) for e in found.explanations)
    lines = "; ".join(ranks.lines())
    found = replace(
        found,
        explanations=told,
        reason=f"{found.reason}; {lines}" if lines else found.reason,
        facts={**found.facts, "ranks": ranks},
    )
    return found if drift is None else _with_drift(found, ranks, drift)


def _told(explanation: Explanation, ranks: Ranks) -> Explanation:
    first, claim = ranks.first, explanation.hypothesis
    sentence = explanation.sentence
    # The first rank is that of the claim only if the claim begins where it was seen.
    if first is not None and claim.step <= first.step < claim.steps.stop:
        sentence = f"{sentence}; {named(first.ranks)} first, step {first.step}"
    details = [explanation.details, *(f"between ranks: {line}" for line in ranks.lines())]
    return replace(explanation, sentence=sentence, details="\n".join(details))


def _with_drift(found: Diagnosis, ranks: Ranks, drift: Drift) -> Diagnosis:
    probability = 1.0 - MEANT_OTHERWISE
    claim = CausalHypothesis(
        mechanism="unsynchronized_replicas",
        layer=None,
        step=drift.step,
        steps=StepSpan(drift.step, drift.step + 1),
        probability=probability,
        p_mechanism=probability,
        symptom="Drift of replicas",
        place=f"the exchange of gradients between ranks ({named(drift.ranks)})",
        claim=_reason(drift),
        evidence_for=tuple(map(str, ranks.drifts)),
        remedy=(
            "call the wrapped model (ddp(x), not ddp.module(x)), leave no_sync() before the last backward "
            "pass of a step, and exchange gradients on every rank in every step; start all ranks from the "
            "same weights"
        ),
        story="every replica learns from its own data only, and the saved model is one of them",
        direction="from the exchange to every layer",
    )
    lines = ["evidence:", *(f"  {x}" for x in claim.evidence_for), f"try: {claim.remedy}"]
    told = Explanation(hypothesis=claim, sentence=str(claim), details="\n".join(lines))
    first = found.healthy or found.hypotheses[0].step >= drift.step
    others, claims = list(found.explanations), list(found.hypotheses)
    return replace(
        found,
        p_healthy=found.p_healthy * MEANT_OTHERWISE,
        reason=_of_replicas(found) if found.healthy else found.reason,
        hypotheses=tuple([claim, *claims] if first else [*claims[:1], claim, *claims[1:]]),
        explanations=tuple([told, *others] if first else [*others[:1], told, *others[1:]]),
    )


def _of_replicas(found: Diagnosis) -> str:
    return f"the ranks do not train one model, though each may look well: {found.reason}"


def _reason(drift: Drift) -> str:
    if drift.what == "initial weights":
        return "different initial weights"
    return "gradients that are not exchanged"
