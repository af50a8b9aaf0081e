"""Claims as text for people: one sentence, and at most 25 lines of detail."""

from __future__ import annotations

from neuraldbg.records.diagnosis import (
    CausalChain,
    CausalHypothesis,
    Diagnosis,
    Explanation,
)

__all__ = ["explanations", "healthy_reason", "tell"]

MAX_LINES = 25
RULED_OUT_BELOW = 0.1
SURE, RIVAL = 0.5, 0.25
MAX_TOLD = 3


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
    told = [c for i, c in enumerate(claims[:MAX_TOLD]) if i == 0 or c.p_mechanism >= least]
    return tuple(tell(c, claims, chains.get(c.mechanism)) for c in told)


def tell(
    claim: CausalHypothesis,
    rivals: tuple[CausalHypothesis, ...],
    chain: CausalChain | None,
) -> Explanation:
    """Return one claim as an explanation."""
    return Explanation(
        hypothesis=claim,
        sentence=str(claim),
        details="\n".join(_details(claim, rivals, chain)[:MAX_LINES]),
        chain=chain,
    )


def _details(
    claim: CausalHypothesis,
    rivals: tuple[CausalHypothesis, ...],
    chain: CausalChain | None,
) -> list[str]:
    where = f"layer '{claim.layer}'" if claim.layer else claim.place
    kind = "calibrated" if claim.calibrated else "not calibrated"
    lines = [
        f"what        {claim.claim} ({claim.mechanism}), p = {claim.p_mechanism:.2f}, {kind}",
        f"where       {where}, p of mechanism and place = {claim.probability:.2f}",
        f"when        step {claim.step} (between {claim.steps.first} and {claim.steps.stop - 1})",
    ]
    if chain is not None and len(chain) > 1:
        ways = [e.direction for e in chain.edges if e.direction in {"forward", "backward"}]
        lines.append(f"direction   {ways[0] if ways else 'all layers at once'}")
    lines += _block("because", claim.evidence_for, 6)
    lines += _block("against", claim.evidence_against, 3)
    lines += _block("ruled out", _ruled_out(claim, rivals), 3)
    if claim.equivalent_to:
        names = ", ".join(claim.equivalent_to)
        lines.append(f"not told    passive evidence cannot tell it from {names}")
        lines.append(f"experiment  {claim.experiment}")
    lines.append(f"try this    {claim.remedy}")
    return lines + _block("unobserved", claim.not_observed, 3)


def _block(title: str, clauses: tuple[str, ...], most: int) -> list[str]:
    return [f"{title if i == 0 else '':<12}{clause}" for i, clause in enumerate(clauses[:most])]


def _ruled_out(claim: CausalHypothesis, rivals: tuple[CausalHypothesis, ...]) -> tuple[str, ...]:
    """Return the look-alikes that the evidence speaks against, and why."""
    known = {r.mechanism: r for r in rivals}
    out = []
    for slug in claim.look_alikes:
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
    if coverage.steps == 0:
        return "no optimizer step was seen, so there is nothing to judge"
    if diagnosis.healthy:
        signs = "no sign of failure" if not diagnosis.events else "no failure that hurts"
        return (
            f"the run looks healthy (p = {diagnosis.p_healthy:.2f}): {signs} in "
            f"{coverage.steps} steps and {coverage.layers_seen} layers"
        )
    return f"{len(diagnosis.events)} events in {coverage.steps} steps need an explanation"
