"""Knowledge as data: every detector and mechanism with its numbers and sources."""

from neuraldbg.catalogue import (
    dataside,
    network,
    on_activations,
    on_data,
    on_gradients,
    on_loss,
    on_numerics,
    on_optimizer,
    on_parameters,
    training,
)
from neuraldbg.records.catalogue import Catalogue

__all__ = ["DEFAULT"]

DEFAULT = Catalogue(
    detectors=(
        *on_loss.DETECTORS,
        *on_optimizer.DETECTORS,
        *on_data.DETECTORS,
        *on_numerics.DETECTORS,
        *on_gradients.DETECTORS,
        *on_activations.DETECTORS,
        *on_parameters.DETECTORS,
    ),
    mechanisms=(*training.MECHANISMS, *network.MECHANISMS, *dataside.MECHANISMS),
    version="2",
)
