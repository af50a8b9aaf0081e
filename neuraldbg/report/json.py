"""The diagnosis as JSON: stable order, no NaN tokens, a schema version."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from neuraldbg.records.diagnosis import Diagnosis

__all__ = ["SCHEMA_VERSION", "json_schema", "plain_values", "schema_of", "to_json"]

SCHEMA_VERSION = 1


def to_json(diagnosis: Diagnosis, *, indent: int | None = 1) -> str:
    """Return the whole diagnosis as JSON; numbers that are not finite become null."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "healthy": diagnosis.healthy,
        **plain_values(diagnosis),
    }
    return json.dumps(body, allow_nan=False, indent=indent)


def plain_values(value: Any) -> Any:
    """Return a record as JSON values; numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_values(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain_values(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_values(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``to_json``, made from the records themselves."""
    definitions: dict[str, Any] = {}
    body = _object(Diagnosis, definitions)
    body["properties"] = {
        "schema_version": {"const": SCHEMA_VERSION},
        "healthy": {"type": "boolean"},
        **body["properties"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "NeuralDBG diagnosis",
        **body,
        "$defs": definitions,
    }


def schema_of(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints beside a diagnosis.

    Parameters
    ----------
    kind
        As it stands in the output.
    body
        Name of each field to the type of its value.
    """
    definitions: dict[str, Any] = {}
    properties = {name: _schema(hint, definitions) for name, hint in body.items()}
    head = {"schema_version": {"const": SCHEMA_VERSION}, "kind": {"const": kind}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"NeuralDBG {kind}",
        "type": "object",
        "properties": {**head, **properties},
        "required": [*head, *properties],
        "$defs": definitions,
    }


def _object(record: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(record)
    properties = {f.name: _schema(hints[f.name], definitions) for f in fields(record)}
    return {"type": "object", "properties": properties, "required": list(properties)}


_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    # A number that is not finite is written as null.
    float: {"type": ["number", "null"]},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] |= _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_schema(arg, definitions) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    return _list(hint, args, definitions)


def _list(hint: Any, args: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if not args:  # a NamedTuple
        args = tuple(get_type_hints(hint).values())
    if args[-1] is ...:
        return {"type": "array", "items": _schema(args[0], definitions)}
    items = [_schema(arg, definitions) for arg in args]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
