"""``neuraldbg show``: mechanisms and events of the catalogue, layers of a run, the schema of the JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from textwrap import fill
from typing import Any

from neuraldbg.catalogue import DEFAULT
from neuraldbg.catalogue.page import PAGE, UNKNOWN, UNKNOWN_TEXT, refutations
from neuraldbg.cli.saved import opened
from neuraldbg.cli.say import say, say_json
from neuraldbg.errors import UnknownNameError, UsageError
from neuraldbg.explain.remedy import MISMATCHES, NOT_UPDATED
from neuraldbg.records.catalogue import Detector, Mechanism
from neuraldbg.records.diagnosis import CausalChain, CausalHypothesis, Explanation
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.names import label
from neuraldbg.records.recording import Topology
from neuraldbg.sweep import Difference, Verdict

__all__ = ["BODIES", "SHOWN", "plain_remedy", "show"]

# Signs of a mechanism that are told on a screen.
LISTED = 10
# Placeholders of a remedy that stand for a whole clause: what a run shows decides which.
CHOICES = {
    "clip": ", and clip the gradient norm at its usual size",
    "schedule": " (told with the step and the two rates)",
    "mismatch": "by what was seen: " + "; ".join(MISMATCHES.values()),
    "not_updated": "by what was seen: "
    + "; ".join(text.replace("{layers}", "‹layers›") for text in NOT_UPDATED.values()),
}


def show(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    SHOWN[options.what](options)
    return 0


def _mechanisms(options: argparse.Namespace) -> None:
    if options.name == UNKNOWN:
        say(UNKNOWN_TEXT)
    elif options.name is not None:
        found = [m for m in DEFAULT.mechanisms if options.name in {m.slug, m.key}]
        if not found:
            raise UnknownNameError(options.name, "mechanism", DEFAULT.slugs())
        if options.json:
            say_json("mechanism", {"variants": found})
        else:
            say(_mechanism(found))
    elif options.json:
        say_json("mechanisms", {"mechanisms": list(DEFAULT.mechanisms)})
    else:
        say("\n".join(f"  {s:<34} {DEFAULT.mechanism(s).claim}" for s in DEFAULT.slugs()))


def _mechanism(ways: list[Mechanism]) -> str:
    """Return a mechanism with all its ways; what they share is told once."""
    first = ways[0]
    lines = [f"{first.slug}: {first.claim}", _paragraph(first.story)]
    for way in ways:
        lines.append(f"    seen as{f', where {way.variant}' * bool(way.variant)}")
        strongest = sorted(way.effects, key=lambda e: -e.link)
        lines += [f"      {e.link:.2f}  {_meaning(e.event)}" for e in strongest[:LISTED]]
        rest = len(strongest) - LISTED
        lines += [f"      … and {rest} weaker signs (--json has them all)"] if rest > 0 else []
    if refuting := refutations(ways):
        lines += ["    refuted by", *(f"      {_meaning(event)}" for event in refuting)]
    if first.look_alikes:
        lines.append(f"    mistaken for {', '.join(first.look_alikes)}")
    remedies = dict.fromkeys(plain_remedy(way.remedy) for way in ways)
    sources = dict.fromkeys(way.source for way in ways)
    lines += [_paragraph(f"try {remedy}") for remedy in remedies]
    lines += [_paragraph(f"source {source}") for source in sources]
    return "\n".join([*lines, f"    page {PAGE}#{first.slug}"])


def plain_remedy(remedy: str) -> str:
    """Return a remedy with its placeholders as words: ``{better_rate:.1g}`` is told as ‹better rate›."""
    parts = []
    for text, field, _, _ in Formatter().parse(remedy):
        parts.append(text)
        if field is not None:
            parts.append(CHOICES.get(field) or f"‹{field.replace('_', ' ')}›")
    return "".join(parts)


def _meaning(event: str) -> str:
    return f"{event}: {DEFAULT.detector(event).meaning}"


def _paragraph(text: str) -> str:
    return fill(text, 100, initial_indent="    ", subsequent_indent="    ")


def _events(options: argparse.Namespace) -> None:
    detectors = list(DEFAULT.detectors)
    if options.name is not None:
        detectors = [d for d in detectors if d.name == options.name]
        if not detectors:
            raise UnknownNameError(options.name, "event", (d.name for d in DEFAULT.detectors))
    if options.json:
        say_json("events", {"events": detectors})
    elif options.name is not None:
        say(_event(detectors[0]))
    else:
        say("\n".join(f"  {d.name:<32} {d.kind:<20} {d.meaning}" for d in detectors))


def _event(detector: Detector) -> str:
    causes = [m.key for m in DEFAULT.mechanisms if any(e.event == detector.name for e in m.effects)]
    return "\n".join(
        [
            f"{detector.name}: {detector.meaning}",
            f"    kind        {detector.kind}",
            f"    seen when   {detector.reads} is {detector.side} {detector.threshold:g}",
            f"    lasting     {_lasting(detector)}",
            f"    caused by   {', '.join(causes)}",
            _paragraph(f"source      {detector.source}"),
        ]
    )


def _lasting(detector: Detector) -> str:
    count = detector.patience
    told = "one measurement" if count == 1 else f"{count} measurements in a row"
    if detector.until is not None:
        told += f", before step {detector.until}"
    return told + (f", from step {detector.since} on" if detector.since else "")


def _layers(options: argparse.Namespace) -> None:
    if options.name is None:
        msg = "the layers of which run? Name a recording: neuraldbg show layers run.ndbg"
        raise UsageError(msg)
    topology = opened(Path(options.name)).recording.topology
    if options.json:
        say_json("layers", {"topology": topology})
        return
    order = sorted(topology.layers, key=lambda layer: (layer.order < 0, layer.order))
    say(
        "\n".join(
            f"  {_place(x.order)}  {label(x.name):<40} {x.type:<20} {x.activation or ''}"
            for x in order
        )
    )


def _place(order: int) -> str:
    return f"{order:>4}" if order >= 0 else "   –"


def _schema(options: argparse.Namespace) -> None:
    from neuraldbg.report import json_schema, schema_of  # noqa: PLC0415

    kind = options.name or "diagnosis"
    if kind not in {"diagnosis", *BODIES}:
        raise UnknownNameError(kind, "kind of JSON", ("diagnosis", *BODIES))
    found = json_schema() if kind == "diagnosis" else schema_of(kind, BODIES[kind])
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


# What ``--json`` prints beside a diagnosis, by its kind.
BODIES: dict[str, dict[str, Any]] = {
    "chain": {"chain": CausalChain},
    "comparison": {"comparison": Difference},
    "demos": {"demos": tuple[Mapping[str, str], ...]},
    "events": {"events": tuple[Detector, ...]},
    "explanations": {"failure": str, "explanations": tuple[Explanation, ...]},
    "layers": {"topology": Topology},
    "mechanism": {"variants": tuple[Mechanism, ...]},
    "mechanisms": {"mechanisms": tuple[Mechanism, ...]},
    "triage": {"runs": tuple[Verdict, ...], "settings": Mapping[str, Mapping[str, str]]},
    "watch": {
        "steps": int,
        "p_healthy": float,
        "causes": tuple[CausalHypothesis, ...],
        "events": tuple[SemanticEvent, ...],
        "ended": bool,
    },
}


SHOWN: dict[str, Callable[[argparse.Namespace], None]] = {
    "mechanisms": _mechanisms,
    "events": _events,
    "layers": _layers,
    "schema": _schema,
}
