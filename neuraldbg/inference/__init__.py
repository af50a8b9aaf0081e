"""Inference stage: evidence and a catalogue in, posterior probabilities out; pgmpy is used only here."""

from neuraldbg.inference.posterior import infer

__all__ = ["infer"]
