"""The evidence table: what the detectors said of every corpus run, with its label, as compact JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from neuraldbg.records.evidence import Evidence, Finding, LocatedFinding

__all__ = ["PATH", "Label", "Row", "digest", "read_table", "write_table"]

PATH = Path(__file__).parent / "evidence.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is true of a run.

    Attributes
    ----------
    id, family, seed
        The case, its architecture family, and the seed of this run.
    mechanisms
        Acceptable answers, the injected one first; empty for a healthy run.
    second
        Mechanisms injected beside it; empty for a single fault.
    also
        Effects that the fault is known to have.
    layers
        Dotted names where it began; None if it has no layer.
    onset
        First and last step at which it may be said to begin; None if unknown.
    hurts
        Whether the run is clearly worse than its paired twin; None for healthy runs.
    source
        Who wrote the program: we for the corpus, or strangers.
    """

    id: str
    family: str
    seed: int
    mechanisms: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = None
    onset: tuple[int, int] | None = None
    hurts: bool | None = None
    source: str = "corpus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run: label, evidence, number of optimizer steps, and the sampled steps near its findings."""

    label: Label
    evidence: Evidence
    steps: int


def write_table(rows: Iterable[Row], path: Path = PATH) -> Path:
    """Write rows as gzip JSON lines, byte for byte reproducible."""
    text = "".join(json.dumps(_pack(row), separators=(",", ":")) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    return path


def read_table(path: Path = PATH) -> Iterator[Row]:
    """Yield the rows of a table."""
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        yield _unpack(json.loads(line))


def digest(*paths: Path) -> str:
    """Return a hash of the content of tables; of that of the corpus if none is named."""
    content = b"".join(gzip.decompress(path.read_bytes()) for path in paths or (PATH,))
    return sha256(content).hexdigest()[:16]


def _pack(row: Row) -> dict[str, Any]:
    label, evidence = row.label, row.evidence
    layer = {name: i for i, name in enumerate(evidence.layers)}
    sites = [[what, layer.get(at, at), site] for (what, at), site in evidence.sites.items()]
    return {
        "label": {key: getattr(label, key) for key in Label.__dataclass_fields__},
        "steps": row.steps,
        "layers": evidence.layers,
        "edges": [[layer.get(a, a), layer.get(b, b)] for a, b in evidence.edges],
        "context": sorted(evidence.context),
        "judged": {e: _short(names, evidence.layers) for e, names in evidence.judged.items()},
        "sites": sites,
        "findings": {
            name: [int(f.present), round(f.weight, 3), f.onset, [_at(x, layer) for x in f.at]]
            if f.present
            else [0, round(f.weight, 3)]
            for name, f in evidence.findings.items()
        },
    }


def _at(found: LocatedFinding, layer: dict[str, int]) -> list[Any]:
    return [layer.get(found.layer, found.layer), found.onset, round(found.strength, 3)]


def _short(names: tuple[str, ...], layers: tuple[str, ...]) -> list[Any]:
    index = {name: i for i, name in enumerate(layers)}
    return [index.get(name, name) for name in names]


def _unpack(body: dict[str, Any]) -> Row:
    layers = tuple(body["layers"])

    def name(value: Any) -> str:
        return layers[value] if isinstance(value, int) else str(value)

    raw = body["label"]
    label = Label(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    )
    findings = {}
    for event, (present, weight, *rest) in body["findings"].items():
        onset, at = rest or (None, [])
        places = tuple(LocatedFinding(layer=name(x), onset=o, strength=s) for x, o, s in at)
        findings[event] = Finding(
            event=event, present=bool(present), weight=weight, onset=onset, at=places
        )
    evidence = Evidence(
        findings=findings,
        context=frozenset(body["context"]),
        layers=layers,
        edges=tuple((name(a), name(b)) for a, b in body["edges"]),
        judged={e: tuple(map(name, names)) for e, names in body["judged"].items()},
        sites={
            (what, None if at is None else name(at)): site
            for what, at, site in body.get("sites", ())
        },
    )
    return Row(label=label, evidence=evidence, steps=body["steps"])
