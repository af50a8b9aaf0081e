"""Knowledge as data: every detector and mechanism with its numbers and sources."""

from neuraldbg.catalogue import (
    between,
    dataside,
    network,
    on_activations,
    on_data,
    on_gradients,
    on_loss,
    on_numerics,
    on_optimizer,
    on_parameters,
    precision,
    training,
)
from neuraldbg.catalogue.learned import shipped
from neuraldbg.records.catalogue import Catalogue

__all__ = ["DEFAULT", "EXPERTS"]

# The numbers as experts gave them, each with its source: where learning starts.
EXPERTS = Catalogue(
    detectors=(
        *on_loss.DETECTORS,
        *on_optimizer.DETECTORS,
        *on_data.DETECTORS,
        *on_numerics.DETECTORS,
        *on_gradients.DETECTORS,
        *on_activations.DETECTORS,
        *on_parameters.DETECTORS,
    ),
    mechanisms=(
        *training.MECHANISMS,
        *network.MECHANISMS,
        *between.MECHANISMS,
        *dataside.MECHANISMS,
        *precision.MECHANISMS,
    ),
    version="3",
)


def _default() -> Catalogue:
    """Return the learned numbers where they were learned for these very detectors, else the experts'."""
    found = shipped()
    if found is None or found.detectors != EXPERTS.fingerprint():
        return EXPERTS
    return EXPERTS.refined(found)


DEFAULT = _default()
