"""Check the user's own records when they are passed in, and not after a night of training."""

from __future__ import annotations

from difflib import get_close_matches

from neuraldbg.catalogue import DEFAULT, EXPERTS
from neuraldbg.errors import PriorError, UnknownNameError, UsageError
from neuraldbg.records.catalogue import Catalogue, Detector, Mechanism
from neuraldbg.records.event import EVENT_KINDS, FAILURE_KINDS

__all__ = ["check_catalogue"]


def check_catalogue(catalogue: Catalogue) -> None:
    """Check the records that ``DEFAULT`` does not have.

    Raises
    ------
    UnknownNameError
        If a mechanism names an event that no detector finds, or a detector a kind or failure that does not exist.
    PriorError
        If a prior, a leak or an unlisted link lies outside (0, 1).
    UsageError
        If a link is no probability, or a remedy asks for a number that no run has.
    """
    if catalogue is DEFAULT or catalogue is EXPERTS:
        return
    shipped = {id(x) for c in (DEFAULT, EXPERTS) for x in (*c.detectors, *c.mechanisms)}
    for detector in catalogue.detectors:
        if id(detector) not in shipped:
            _check_detector(detector)
    names = [d.name for d in catalogue.detectors]
    for mechanism in catalogue.mechanisms:
        if id(mechanism) not in shipped:
            _check_mechanism(mechanism, names)


def _check_detector(detector: Detector) -> None:
    if detector.kind not in EVENT_KINDS:
        raise UnknownNameError(detector.kind, "kind of event", EVENT_KINDS)
    if detector.failure is not None and detector.failure not in FAILURE_KINDS:
        raise UnknownNameError(detector.failure, "failure", FAILURE_KINDS)
    _check_probability("leak", detector.leak, detector.name)
    if detector.unlisted is not None:
        _check_probability("unlisted link", detector.unlisted, detector.name)


def _check_mechanism(mechanism: Mechanism, names: list[str]) -> None:
    _check_probability("prior", mechanism.prior, mechanism.key)
    for effect in (*mechanism.effects, *mechanism.forbids):
        if effect.event not in names:
            raise UnknownNameError(effect.event, "event", names)
        if not 0.0 <= effect.link <= 1.0:
            msg = (
                f"the link of {mechanism.key!r} to {effect.event!r} is {effect.link:g}; "
                "a link is a probability between 0 and 1."
            )
            raise UsageError(msg)
    missing = _missing(mechanism)
    if missing:
        raise UsageError(_asked_too_much(mechanism, missing))


def _check_probability(what: str, value: float, name: str) -> None:
    if not 0.0 < value < 1.0:
        msg = f"the {what} of {name!r} is {value:g}; it must lie between 0 and 1, both excluded."
        raise PriorError(msg)


def _missing(mechanism: Mechanism) -> str:
    """Return the first number that a remedy asks for and no run has; empty if it has all."""
    from neuraldbg.explain.remedy import remedy_text  # noqa: PLC0415 - scipy loads with it
    from neuraldbg.records.recording import Recording  # noqa: PLC0415
    from neuraldbg.signals import derive  # noqa: PLC0415

    try:
        remedy_text(mechanism, None, 0, derive(Recording()), {})
    except (KeyError, IndexError, ValueError) as error:
        return str(error.args[0])
    return ""


def _asked_too_much(mechanism: Mechanism, missing: str) -> str:
    numbers = sorted(
        {
            part.partition(":")[0]
            for m in EXPERTS.mechanisms
            for part in (p.partition("}")[0] for p in m.remedy.split("{")[1:])
        }
    )
    near = get_close_matches(missing, numbers, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"the remedy of {mechanism.key!r} asks for {missing!r}, which no run has.{hint} "
        f"There are: {', '.join(numbers)}. A brace of its own is written twice."
    )
