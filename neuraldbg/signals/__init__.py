"""Signals stage: a recording in, scale-free series with observed flags out."""

from neuraldbg.signals.derive import derive

__all__ = ["derive"]
