"""Training ends bit for bit alike with and without us, on every demo architecture."""

import random

import numpy as np
import pytest
import torch

from neuraldbg.capture import Capture
from neuraldbg.demos import CASES, find, null_observe
from tests.twins import is_untouched

ARCHITECTURES = (
    "healthy-mlp",
    "healthy-cnn",
    "healthy-resnet",
    "healthy-lstm",
    "healthy-rnn-cell",
    "healthy-transformer",
    "healthy-autoencoder",
    "healthy-recommender",
    "healthy-regression",
    "healthy-weight-tying",
    "healthy-low-rank",
    "healthy-gan",
    "healthy-lbfgs",
    "healthy-accumulation",
    "healthy-ema-copy",
    "healthy-evaluation",
    "mlp-excessive-dropout",
    "mlp-low-precision-updates",
    "recommender-singular-root",
    "tanh-saturated-activations",
    "sigmoid-depth-attenuation",
)


def _train(case, observe):
    kept = {}

    class Observe:
        def __init__(self, model, optimizer):
            kept["model"] = model
            self.inner = observe(model, optimizer)

        def __enter__(self):
            self.told = self.inner.__enter__()
            kept["losses"] = []
            return self

        def loss(self, value):
            kept["losses"].append(value)
            self.told.loss(value)

        def __exit__(self, *error):
            return self.inner.__exit__(*error)

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what a user's code draws from
    case.train(Observe, seed=1)
    return kept


class _Watch:
    def __init__(self, model, _optimizer):
        self.capture = Capture(model)

    def __enter__(self):
        self.capture.start()
        return self

    def loss(self, value):
        pass

    def __exit__(self, _kind, error, _trace):
        self.capture.stop(error)
        assert is_untouched()


def _rng():
    state = np.random.get_state()  # noqa: NPY002 - as above
    return torch.get_rng_state(), random.getstate(), state[1].tolist(), state[2]


@pytest.fixture(scope="module", autouse=True)
def _loaded_once():
    """Lazy imports of the data and of PyTorch's optimizers draw random names; a first run gets them over with."""
    for name in ("healthy-mlp", "healthy-lbfgs"):
        _train(find(name), null_observe)


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_losses_and_random_state_are_bit_identical(name):
    case = find(name)
    plain, plain_rng = _train(case, null_observe), _rng()
    watched, watched_rng = _train(case, _Watch), _rng()

    assert watched["losses"] == plain["losses"] or np.isnan(plain["losses"][-1])
    assert watched_rng[1:] == plain_rng[1:]
    assert torch.equal(watched_rng[0], plain_rng[0])
    pairs = zip(
        plain["model"].state_dict().values(), watched["model"].state_dict().values(), strict=True
    )
    assert all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in pairs)


def test_every_demo_family_is_among_the_architectures():
    families = {case.family for case in CASES}
    assert families == {find(name).family for name in ARCHITECTURES}
