"""Claims as text for people: one sentence, and at most 25 lines of detail."""

from __future__ import annotations

from dataclasses import replace

from neuraldbg.catalogue.page import page_of
from neuraldbg.explain.rank import SYMPTOMS
from neuraldbg.records.diagnosis import (
    CausalChain,
    CausalHypothesis,
    Diagnosis,
    Explanation,
)
from neuraldbg.records.names import quoted

__all__ = ["about", "explanations", "healthy_reason", "tell"]

MAX_LINES = 25
RULED_OUT_BELOW = 0.1
SURE, RIVAL = 0.5, 0.25
MAX_TOLD = 3
MAX_BESIDE = 6


def explanations(
    claims: tuple[CausalHypothesis, ...],
    chains: dict[str, CausalChain],
    *,
    healthy: bool,
) -> tuple[Explanation, ...]:
    """Return the claims that deserve a sentence: the first, and any rival that is nearly as likely.

    A healthy run gets none.
    """
    if healthy or not claims:
        return ()
    # One failure gets one explanation: rivals are told only where they are as likely as not, or where the
    # first is itself unsure.
    least = SURE if claims[0].p_mechanism >= SURE else RIVAL
    rivals = [
        c for c in claims[1:MAX_TOLD] if c.p_mechanism >= least and not _is_state_of(c, claims[0])
    ]
    return tuple(tell(c, claims, chains.get(c.mechanism)) for c in (claims[0], *rivals))


def _is_state_of(rival: CausalHypothesis, first: CausalHypothesis) -> bool:
    """Return whether a rival is a state that a root was there to bring about: part of its story."""
    return rival.role == "state" and first.role == "root" and rival.step >= first.step


def tell(
    claim: CausalHypothesis,
    rivals: tuple[CausalHypothesis, ...],
    chain: CausalChain | None,
) -> Explanation:
    """Return one claim as an explanation."""
    return Explanation(
        hypothesis=claim,
        sentence=str(claim),
        details="\n".join(_details(claim, rivals)[:MAX_LINES]),
        chain=chain,
    )


def about(claim: CausalHypothesis, failure: str) -> CausalHypothesis:
    """Return the same claim as the answer to why one failure kind happened."""
    return replace(claim, failure=failure, symptom=SYMPTOMS[failure])


def _details(claim: CausalHypothesis, rivals: tuple[CausalHypothesis, ...]) -> list[str]:
    kind = "calibrated" if claim.calibrated else "not calibrated"
    first, last = claim.steps.first, claim.steps.stop - 1
    between = f" (between {first} and {last})" if first < last else ""
    whole = claim.layer is None
    joint = "" if whole else f", p of mechanism and place = {claim.probability:.2f}"
    lines = [
        *_block(
            "what", (f"{claim.claim} ({claim.mechanism}), p = {claim.p_mechanism:.2f}, {kind}",)
        ),
        *_block("where", (f"{claim.where}{joint}", _beside(claim.others))),
        *_block("when", (f"step {claim.step}{between}",)),
        *_block("direction", (claim.direction,)),
        *_block("how", (claim.story,)),
    ]
    lines += _block("because", claim.evidence_for[:6])
    lines += _block("against", claim.evidence_against[:3])
    lines += _block("ruled out", _ruled_out(claim, rivals)[:3])
    if claim.equivalent_to:
        names = ", ".join(claim.equivalent_to)
        lines += _block("cannot tell", (f"passive evidence does not separate it from {names}",))
        lines += _block("experiment", (claim.experiment,))
    lines += _block("try this", (claim.remedy,))
    lines += _block("read on", (page_of(claim.mechanism),))
    return lines + _block("not observed", claim.not_observed[:3])


def _beside(layers: tuple[str, ...]) -> str:
    """Return the further layers by name, as many as fit in a line."""
    if not layers:
        return ""
    more = f" and {len(layers) - MAX_BESIDE} more" if len(layers) > MAX_BESIDE else ""
    return f"also {', '.join(quoted(name) for name in layers[:MAX_BESIDE])}{more}"


def _block(title: str, clauses: tuple[str, ...]) -> list[str]:
    kept = [clause for clause in clauses if clause]
    return [f"{title if i == 0 else '':<14}{clause}" for i, clause in enumerate(kept)]


def _ruled_out(claim: CausalHypothesis, rivals: tuple[CausalHypothesis, ...]) -> tuple[str, ...]:
    """Return the look-alikes that the evidence speaks against, and why."""
    # What passive evidence cannot tell from the claim is not ruled out by it either.
    known = {r.mechanism: r for r in rivals}
    out = []
    for slug in claim.look_alikes:
        if slug in claim.equivalent_to:
            continue
        rival = known.get(slug)
        if rival is None:
            out.append(f"{slug} (p < 0.001)")
        elif rival.p_mechanism < RULED_OUT_BELOW:
            why = f": {rival.evidence_against[0]}" if rival.evidence_against else ""
            out.append(f"{slug} (p = {rival.p_mechanism:.3f}){why}")
    return tuple(out)


def healthy_reason(diagnosis: Diagnosis) -> str:
    """Return one sentence that says why nothing, or what, is accused."""
    coverage = diagnosis.coverage
    if coverage.steps == 0 and coverage.layers_seen == 0:
        return (
            "no module of the model ran while it was watched, so there is nothing to judge: "
            "pass the model that the loop trains, and put the loop inside the block"
        )
    if coverage.steps == 0:
        return (
            "no optimizer step was seen, so there is nothing to judge: put the whole loop, "
            "with backward() and optimizer.step(), inside the block"
        )
    failures = dict.fromkeys(e.failure for e in diagnosis.events if e.failure)
    named = [SYMPTOMS[f].lower() for f in sorted(failures, key=list(SYMPTOMS).index)]
    if diagnosis.healthy:
        signs = f"{' and '.join(named[:2])} did not hurt" if named else "no sign of failure"
        return (
            f"the run looks healthy (p = {diagnosis.p_healthy:.2f}): {signs} in "
            f"{coverage.steps} steps and {coverage.layers_seen} layers"
        )
    seen = ", ".join(named[:3]) if named else f"{len(diagnosis.events)} unusual events"
    return f"the run needs an explanation (p of healthy = {diagnosis.p_healthy:.2f}): {seen}"
