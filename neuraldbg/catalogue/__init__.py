"""Knowledge as data: every detector and mechanism with its numbers and sources."""

from neuraldbg.catalogue import dataside, detect_layers, detect_run, network, training
from neuraldbg.records.catalogue import Catalogue

__all__ = ["DEFAULT", "UNKNOWN"]

UNKNOWN = "unknown_cause"

DEFAULT = Catalogue(
    detectors=(
        *detect_run.LOSS,
        *detect_run.OPTIMIZER,
        *detect_run.DATA,
        *detect_run.NUMERICS,
        *detect_layers.GRADIENTS,
        *detect_layers.ACTIVATIONS,
        *detect_layers.PARAMETERS,
    ),
    mechanisms=(*training.MECHANISMS, *network.MECHANISMS, *dataside.MECHANISMS),
    version="1",
)
