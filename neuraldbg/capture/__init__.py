"""Capture stage: a live model in, a recording out; torch is imported only here."""

from neuraldbg.capture.attach import Capture
from neuraldbg.capture.schedule import Schedule

__all__ = ["Capture", "Schedule"]
