"""Capture stage: a live model in, a recording out; torch is imported only here."""

from neuraldbg.capture.attach import Capture
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.shards import rank_and_count

__all__ = ["Capture", "Schedule", "rank_and_count"]
