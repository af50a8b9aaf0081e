"""Everything of a recording that is not a column, as JSON and back; what is read is checked value by value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NoReturn, TypeVar

from neuraldbg.recording.frames import Malformed
from neuraldbg.records.recording import (
    Fact,
    LayerInfo,
    LossCall,
    Occurrence,
    OptimizerInfo,
    ParamInfo,
    Topology,
    Unobserved,
)

__all__ = ["MAX_NOTES", "checked_facts", "dump", "items", "parse", "plain", "record", "state_value"]

MAX_NOTES = 32 * 2**20
MAX_TEXT = 4096
LARGEST = 2**53

T = TypeVar("T")
Check = Callable[[Any], Any]


def dump(value: Any) -> bytes:
    """Return strict JSON in UTF-8, without spaces and without NaN tokens."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def parse(text: bytes) -> dict[str, Any]:
    """Return the JSON object in these bytes.

    Raises
    ------
    Malformed
        If there is none, or it is too large.
    """
    if len(text) > MAX_NOTES:
        msg = f"{len(text)} bytes of notes; at most {MAX_NOTES} are allowed"
        raise Malformed(msg)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = "notes that are not JSON"
        raise Malformed(msg) from error
    return _mapping(found)


def plain(value: Any) -> Any:
    """Return a record as JSON values; fields that have their default are left out."""
    if is_dataclass(value):
        changed = (f.name for f in fields(value) if getattr(value, f.name) != _default(f))
        return {name: plain(getattr(value, name)) for name in changed}
    if isinstance(value, Mapping):
        return {_plain_text(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return _plain_fact(value)


def _plain_fact(value: Any) -> Any:
    if hasattr(value, "dtype"):
        value = value.item()
    if isinstance(value, float):
        # JSON knows no NaN; facts are never objects, so an object can stand for one.
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if value is None or isinstance(value, (bool, int)):
        return value
    return _plain_text(str(value))


def _plain_text(text: str) -> str:
    """Return a text that can be written in UTF-8 and that a reader accepts."""
    return text[:MAX_TEXT].encode(errors="replace").decode()


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


# -- checks: each returns the value in its own type or raises Malformed -------------------------------


def _refuse(what: str, value: Any, error: Exception | None = None) -> NoReturn:
    msg = f"{str(value)[:40]!r} where {what} belongs"
    raise Malformed(msg) from error


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse("an object", value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        _refuse("a short text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which no report could be written with
        _refuse("a text", ascii(value), error)
    return value


def _maybe_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        _refuse("true or false", value)
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        _refuse("a whole number", value)
    return value


def _fact(value: Any) -> Fact:
    if isinstance(value, dict):
        try:
            return float(value["float"])
        except (KeyError, TypeError, ValueError) as error:
            _refuse("a number", value, error)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    _refuse("a fact", value)


def checked_facts(value: Any) -> dict[str, Fact]:
    """Return facts: short names, plain values."""
    return {_text(k): _fact(v) for k, v in _mapping(value).items()}


def items(value: Any, check: Callable[[Any], T]) -> tuple[T, ...]:
    """Return a list whose every item passed a check."""
    if not isinstance(value, list):
        _refuse("a list", value)
    return tuple(check(v) for v in value)


def _numbers(value: Any) -> tuple[int, ...]:
    return items(value, _number)


def _pair(value: Any) -> tuple[int, int]:
    found = _numbers(value)
    if len(found) != 2:
        _refuse("a pair", value)
    return found[0], found[1]


def _unobserved(value: Any) -> Unobserved:
    found = items(value, _text)
    if len(found) != 2:
        _refuse("a pair", value)
    return Unobserved(*found)


_CHECKS: dict[type, dict[str, Check]] = {
    LayerInfo: {
        "name": _text,
        "type": _text,
        "kind": _text,
        "order": _number,
        "activation": _maybe_text,
        "params": _numbers,
        "calls": _number,
        "config": checked_facts,
    },
    ParamInfo: {
        "name": _text,
        "layer": _number,
        "shape": _numbers,
        "dtype": _text,
        "kind": _text,
        "trainable": _flag,
        "group": _number,
        "fan_in": _number,
        "shard": _number,
        "summed": _number,
    },
    OptimizerInfo: {
        "type": _text,
        "family": _text,
        "groups": _numbers,
        "defaults": checked_facts,
    },
    LossCall: {"step": _number, "function": _text, "layer": _number, "facts": checked_facts},
    Occurrence: {"step": _number, "kind": _text, "layer": _number, "facts": checked_facts},
    Topology: {
        "layers": lambda value: items(value, record(LayerInfo)),
        "params": lambda value: items(value, record(ParamInfo)),
        "edges": lambda value: items(value, _pair),
        "inputs": _numbers,
        "outputs": _numbers,
    },
}


def record(kind: type[T]) -> Callable[[Any], T]:
    """Return a check that builds a record; unknown keys are left to newer readers."""
    checks = _CHECKS[kind]

    def build(value: Any) -> T:
        found = _mapping(value)
        try:
            return kind(**{k: check(found[k]) for k, check in checks.items() if k in found})
        except TypeError as error:
            msg = f"a {kind.__name__} without its necessary parts"
            raise Malformed(msg) from error

    return build


def _topology(value: Any) -> Topology:
    """Return a topology all of whose indices exist."""
    found: Topology = record(Topology)(value)
    layers, params = len(found.layers), len(found.params)
    used = (
        *((p, params) for layer in found.layers for p in layer.params),
        *((p.layer, layers) for p in found.params),
        *((i, layers) for edge in found.edges for i in edge),
        *((i, layers) for i in (*found.inputs, *found.outputs)),
    )
    if any(not 0 <= i < end for i, end in used) or any(p.group < -1 for p in found.params):
        msg = "a module graph that refers to layers or parameters that do not exist"
        raise Malformed(msg)
    return found


_STATE: dict[str, Check] = {
    "facts": checked_facts,
    "topology": _topology,
    "optimizers": lambda value: items(value, record(OptimizerInfo)),
    "unobserved": lambda value: items(value, _unobserved),
}


def state_value(name: str, value: Any) -> Any:
    """Return one checked value of the run's state: facts, topology, optimizers or unobserved.

    Raises
    ------
    Malformed
        If there is no such state or the value is not of its form.
    """
    if name not in _STATE:
        _refuse("a known part of the state", name)
    return _STATE[name](value)
