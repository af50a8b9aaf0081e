"""The diagnosis as plain text for a terminal."""

from __future__ import annotations

from neuraldbg.records.diagnosis import Diagnosis

__all__ = ["to_text"]

WIDTH = 24


def to_text(diagnosis: Diagnosis, *, details: bool = True) -> str:
    """Return verdict, ranked causes, and the details of the leading explanations."""
    lines = [diagnosis.reason]
    for explanation in diagnosis.explanations:
        lines += ["", explanation.sentence]
        if details:
            lines += [f"    {line}" for line in explanation.details.splitlines()]
        if explanation.chain is not None and len(explanation.chain) > 1:
            lines += ["", "    causal chain"]
            lines += [f"      {line}" for line in str(explanation.chain).splitlines()]
    shown = [h for h in diagnosis.hypotheses if h.p_mechanism >= 0.01][:6]
    if shown:
        lines += ["", "    probability of each cause"]
        lines += [_bar("healthy", diagnosis.p_healthy)]
        lines += [_bar(h.mechanism, h.p_mechanism) for h in shown]
    if diagnosis.coverage.unobserved:
        lines += ["", "    not observed"]
        lines += [f"      {u.what}: {u.why}" for u in diagnosis.coverage.unobserved]
    return "\n".join(lines)


def _bar(name: str, p: float) -> str:
    return f"      {name:<34} {'█' * round(p * WIDTH):<{WIDTH}} {p:.2f}"
