"""``neuraldbg demo``: train a small real model with a named fault and diagnose it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuraldbg.cli.say import say, say_diagnosis, say_json, status
from neuraldbg.errors import UsageError

if TYPE_CHECKING:
    from neuraldbg.debugger import NeuralDbg
    from neuraldbg.demos.case import Case

__all__ = ["DEFAULT", "demo"]

DEFAULT = "resnet-learning-rate-jump"


def demo(options: argparse.Namespace) -> int:
    """Train, diagnose, print."""
    # torch, scikit-learn and pgmpy load here, not for --help.
    from neuraldbg.demos import CASES, find  # noqa: PLC0415

    if options.list:
        if options.json:
            say_json("demos", {"demos": [{"name": c.id, "title": c.title} for c in CASES]})
        else:
            say("\n".join(f"  {case.id:<38} {case.title}" for case in CASES))
        return 0
    case = find(options.name)
    _on(options.device)
    found = _watched(case, seed=options.seed, fixed=options.fixed, save=options.save)
    diagnosis = found.diagnose()
    say_diagnosis(diagnosis, as_json=options.json)
    if options.report is not None:
        sys.stderr.write(f"report: {found.report(options.report)}\n")
    return status(diagnosis, options.fail_on)


def _on(device: str) -> None:
    """Make models and data on a device from here on."""
    import torch  # noqa: PLC0415

    if device == torch.get_default_device().type:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        msg = (
            f"nothing can be trained on the device {device!r}: {str(error).splitlines()[0]}. "
            "Leave --device out to train on the processor."
        )
        raise UsageError(msg) from error
    torch.set_default_device(device)


def _watched(case: Case, *, seed: int, fixed: bool, save: Path | None) -> NeuralDbg:
    """Train a case with progress on stderr and return what watched it."""
    from neuraldbg.debugger import NeuralDbg  # noqa: PLC0415

    sys.stderr.write(f"{case.title}{' (the healthy twin)' if fixed else ''}\n")
    found: list[NeuralDbg] = []

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Iterator[_Progress]:
        with NeuralDbg(model, save=save) as dbg:
            found.append(dbg)
            yield _Progress()

    outcome = case.train(observe, seed=seed, fixed=fixed)
    sys.stderr.write(f"\nfinal loss {outcome['loss']:.4g}, metric {outcome['metric']:.4g}\n\n")
    return found[0]


class _Progress:
    """Prints step and loss on stderr, in place where it is a terminal."""

    def __init__(self) -> None:
        self._step = 0

    def loss(self, value: float) -> None:
        """Take the loss of one step."""
        self._step += 1
        if sys.stderr.isatty():
            sys.stderr.write(f"\rstep {self._step:4d}  loss {value:10.4g} ")
        elif self._step % 50 == 0:
            sys.stderr.write(f"step {self._step}  loss {value:.4g}\n")
