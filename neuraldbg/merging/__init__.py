"""Merging stage: the recordings of all ranks of one run in, one recording and what they say of one another out.

Definitions. A *rank* is one process of a run. Its recording is *replicated* where every rank holds the same
(weights and exchanged gradients of data-parallel training), *sharded* where each holds a part (FSDP), and its
own everywhere else (batches, activations, losses). Recordings are taken one after the other, so memory does
not grow with what a rank recorded times the number of ranks.
"""

from neuraldbg.merging.join import Merger

__all__ = ["Merger"]
