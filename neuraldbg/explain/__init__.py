"""Explain stage: posterior, events and signals in, ranked and worded claims out."""

from neuraldbg.explain.rank import mechanism_couplings, rank
from neuraldbg.explain.tell import explanations, healthy_reason, tell

__all__ = ["explanations", "healthy_reason", "mechanism_couplings", "rank", "tell"]
