"""The real libraries, quiet; without them these tests say why they do not run."""

import logging
import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

from tests.twins import PATCHED


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def libraries():
    """Import those that are installed: Lightning puts a ``torch.compile`` of its own in place, for good."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("lightning", "transformers", "accelerate"):
            if find_spec(name) is not None:
                import_module(name)
    PATCHED.update({(owner, name): getattr(owner, name) for owner, name in PATCHED})


@pytest.fixture(autouse=True)
def quiet(libraries):
    """The libraries warn of small data and of one another; ours must still fail a test."""
    from neuraldbg.errors import CaptureWarning

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CaptureWarning)
        yield
    logging.disable(logging.NOTSET)
