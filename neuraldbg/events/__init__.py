"""Events stage: signals and a catalogue in, semantic events and evidence out."""

from neuraldbg.events.detect import find_events, gather_evidence

__all__ = ["find_events", "gather_evidence"]
