"""``neuraldbg show``: mechanisms and events of the catalogue, layers of a run, the schema of the JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from neuraldbg.catalogue import DEFAULT
from neuraldbg.catalogue.page import PAGE, UNKNOWN, UNKNOWN_TEXT
from neuraldbg.cli.saved import opened
from neuraldbg.cli.say import say, say_json
from neuraldbg.errors import UnknownNameError, UsageError
from neuraldbg.records.catalogue import Detector, Mechanism

__all__ = ["SHOWN", "show"]


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
            say("\n\n".join(_mechanism(m) for m in found))
    elif options.json:
        say_json("mechanisms", {"mechanisms": list(DEFAULT.mechanisms)})
    else:
        say("\n".join(f"  {s:<34} {DEFAULT.mechanism(s).claim}" for s in DEFAULT.slugs()))


def _mechanism(mechanism: Mechanism) -> str:
    lines = [
        f"{mechanism.key}: {mechanism.claim}",
        _paragraph(mechanism.story),
        "    seen as",
        *(f"      {e.link:.2f}  {_meaning(e.event)}" for e in mechanism.effects),
    ]
    if mechanism.forbids:
        lines += ["    refuted by", *(f"      {_meaning(e.event)}" for e in mechanism.forbids)]
    if mechanism.look_alikes:
        lines.append(f"    mistaken for {', '.join(mechanism.look_alikes)}")
    lines += [_paragraph(f"try {mechanism.remedy}"), _paragraph(f"source {mechanism.source}")]
    lines.append(f"    page {PAGE}#{mechanism.slug}")
    return "\n".join(lines)


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
            f"    lasting     {detector.patience} sampled steps",
            f"    caused by   {', '.join(causes)}",
            _paragraph(f"source      {detector.source}"),
        ]
    )


def _layers(options: argparse.Namespace) -> None:
    if options.name is None:
        msg = "the layers of which run? Name a recording: neuraldbg show layers run.ndbg"
        raise UsageError(msg)
    topology = opened(Path(options.name)).recording.topology
    if options.json:
        say_json("layers", {"topology": topology})
        return
    order = sorted(topology.layers, key=lambda layer: (layer.order < 0, layer.order))
    say("\n".join(f"  {x.order:>4}  {x.name:<40} {x.type:<20} {x.activation or ''}" for x in order))


def _schema(_options: argparse.Namespace) -> None:
    from neuraldbg.report import json_schema  # noqa: PLC0415

    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")


SHOWN: dict[str, Callable[[argparse.Namespace], None]] = {
    "mechanisms": _mechanisms,
    "events": _events,
    "layers": _layers,
    "schema": _schema,
}
