"""Explain stage: posterior, events and signals in, ranked and worded claims out."""

from neuraldbg.explain.rank import mechanism_couplings, rank
from neuraldbg.explain.tell import about, explanations, healthy_reason, tell

__all__ = ["about", "explanations", "healthy_reason", "mechanism_couplings", "rank", "tell"]
