"""The real libraries, quiet; without them these tests say why they do not run."""

import logging
import warnings

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def quiet():
    """The libraries warn of small data and of one another; ours must still fail a test."""
    from neuraldbg.errors import CaptureWarning

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CaptureWarning)
        yield
    logging.disable(logging.NOTSET)
