"""Write ``logic_graph.md``: what the engine knows, generated from the catalogue.

``python -m benchmarks.logic_graph`` writes the page; with ``--check`` it only says whether it is stale.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType

from neuraldbg.catalogue import DEFAULT, between, dataside, network, precision, training
from neuraldbg.catalogue.page import UNKNOWN, UNKNOWN_TEXT, refutations
from neuraldbg.cli.show import plain_remedy
from neuraldbg.graph.build import INFLUENCES, RANK
from neuraldbg.records.catalogue import Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.event import EVENT_KINDS
from neuraldbg.report.svg import COLOURS

PAGE = Path(__file__).parent.parent / "logic_graph.md"
FAMILIES: tuple[tuple[str, ModuleType], ...] = (
    ("Step size, schedule and update rule", training),
    ("The network itself", network),
    ("What stands between its weights", between),
    ("Data and loss", dataside),
    ("Numerics", precision),
)
# Arrows per mechanism in a diagram, rows of evidence in its section, and evidence named in the summary.
DRAWN, LISTED, NAMED = 3, 10, 3
STRONG, LIKELY = 0.7, 0.4

INTRODUCTION = """\
# The logic of NeuralDBG

Generated from the catalogue by `make docs`; do not edit by hand. A test fails when this page is stale.

Knowledge is data here. A *detector* is one threshold on one derived signal: where it is passed, an event is
born. A *mechanism* is a cause; its *effects* say how probable each event is when the mechanism alone is at work
(the *link* of a noisy-OR network). The *leak* of an event is the probability that it is seen with none of these
causes, in healthy runs too. The engine knows no detector and no mechanism by name: to add one is to add a
record (`notebooks/04_add_a_mechanism.ipynb`).

A source of the form `mechanisms.md P1` is a signal of the research notes that this catalogue began with; such a
threshold is judgement informed by the literature, and stands until a measurement replaces it.

- [From run to sentence](#from-run-to-sentence)
- [Mechanisms](#mechanisms): {mechanisms} of them, in {variants} ways
- [How events lead to one another](#how-events-lead-to-one-another)
- [Detectors](#detectors): {detectors} of them

## From run to sentence

```mermaid
flowchart LR
  loop(["your loop"]) -->|capture| recording["Recording"]
  recording -->|signals| series["Signals"]
  series -->|events| found["SemanticEvents"]
  found -->|graph| arrows["EventGraph"]
  found -->|inference| posterior["Posterior"]
  arrows -->|explain| diagnosis["Diagnosis"]
  posterior -->|explain| diagnosis
  diagnosis -->|report| sentence(["text, notebook, files"])
```
"""
LEGEND = f"""\
Rounded boxes are mechanisms, square ones the events that tell most about them; the colour of an event is its
kind, as in the pictures of the event graph. A thick arrow is a link of at least {STRONG}, a thin one of at least
{LIKELY}, a dotted one below. Remedies are told with numbers from the run where this page says ‹name›.
"""
INFLUENCE_TEXT = """\
## How events lead to one another

An arrow of the event graph needs three things: the source is not later than the target, the table below has an
entry for the two kinds, and the model's own dataflow has a route for that direction of travel. *Forward* follows
the data through the layers, *backward* runs against it, *update* stays in one layer, *data* enters at the input,
*loss* leaves at the output. The number is the probability that the target follows when the source is in the same
place; it falls by a tenth per layer on the way and with the lag. Events of the same step are ordered by kind:
{rank}. What a person set (a schedule, a momentum, a frozen layer) has no cause in the graph, and a plateau, which
is where a run ends up, stands at its last step and has no effect.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the page and return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is stale")
    options = parser.parse_args(argv)
    text = page(DEFAULT)
    if options.check:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
        sys.stderr.write(f"{PAGE.name} is {'stale: run `make docs`' if stale else 'fresh'}\n")
        return int(stale)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page(catalogue: Catalogue) -> str:
    """Return the whole page as Markdown."""
    head = INTRODUCTION.format(
        mechanisms=len(catalogue.slugs()),
        variants=len(catalogue.mechanisms),
        detectors=len(catalogue.detectors),
    )
    parts = [head, "## Mechanisms", "", LEGEND, ""]
    for title, module in FAMILIES:
        slugs = dict.fromkeys(m.slug for m in module.MECHANISMS)
        parts += _family(title, [_ways(catalogue, slug) for slug in slugs], catalogue)
    parts += [*_unknown(catalogue), *_influences(), *_detectors(catalogue)]
    return "\n".join(parts) + "\n"


def _ways(catalogue: Catalogue, slug: str) -> list[Mechanism]:
    return [m for m in catalogue.mechanisms if m.slug == slug]


# -- mechanisms ---------------------------------------------------------------------------------


def _family(title: str, family: list[list[Mechanism]], catalogue: Catalogue) -> list[str]:
    lines = [f"### {title}", "", *_diagram(family, catalogue), ""]
    lines += ["| mechanism | likely due to … | strongest evidence (link) |", "|---|---|---|"]
    for ways in family:
        evidence = ", ".join(
            f"{e.event} {e.link:.2f}" for e in _telling(_merged(ways), catalogue)[:NAMED]
        )
        lines.append(f"| [{ways[0].slug}](#{ways[0].slug}) | {ways[0].claim} | {evidence} |")
    lines.append("")
    return lines + list(chain.from_iterable(_section(ways, catalogue) for ways in family))


def _diagram(family: list[list[Mechanism]], catalogue: Catalogue) -> list[str]:
    lines = ["```mermaid", "flowchart LR"]
    shown: dict[str, None] = {}
    for ways in family:
        slug = ways[0].slug
        lines.append(f'  {slug}(["{_words(slug)}"])')
        for effect in _telling(_merged(ways), catalogue)[:DRAWN]:
            shown.setdefault(effect.event)
            lines.append(f"  {slug} {_arrow(effect.link)} e_{effect.event}")
    kinds = {event: catalogue.detector(event).kind for event in shown}
    lines += [f'  e_{event}["{_words(event)}"]:::{kind}' for event, kind in kinds.items()]
    # A coloured border reads on light and dark pages alike; a fill would not.
    lines += [
        f"  classDef {kind} stroke:{colour},stroke-width:3px"
        for kind, colour in COLOURS.items()
        if kind in kinds.values()
    ]
    return [*lines, "```"]


def _arrow(link: float) -> str:
    return "==>" if link >= STRONG else "-->" if link >= LIKELY else "-.->"


def _section(ways: list[Mechanism], catalogue: Catalogue) -> list[str]:
    first = ways[0]
    where = "one layer" if first.layered else first.place
    lines = [
        f"#### {first.slug}",
        "",
        first.story,
        "",
        f"- **Prior** {sum(m.prior for m in ways):.3f}, {_role(first)}; told of {where}",
        f"- **Try** {plain_remedy(first.remedy)}",
    ]
    if first.requires:
        lines.append(f"- **Only if** {', '.join(map(_words, first.requires))}")
    lines += _listed("Looks like", (_link(s) for s in first.look_alikes))
    lines += [
        f"- **Cannot be told from** {_link(s)} by watching; instead {how}"
        for s, how in first.equivalents
    ]
    lines += _listed("Spoken against by", _refutations(ways))
    lines += [f"- **Source** {first.source}", ""]
    return [*lines, *_evidence_table(ways, catalogue), ""]


def _role(mechanism: Mechanism) -> str:
    return "a root" if mechanism.role == "root" else "a state: also caused by others"


def _listed(title: str, items: Iterable[str]) -> list[str]:
    text = ", ".join(items)
    return [f"- **{title}** {text}"] if text else []


def _refutations(ways: list[Mechanism]) -> Iterable[str]:
    return (
        f"[{event}](#event-{event}) (odds × {factor:.2g})"
        for event, factor in refutations(ways).items()
    )


def _evidence_table(ways: list[Mechanism], catalogue: Catalogue) -> list[str]:
    names = [m.variant or "link" for m in ways]
    lines = [
        f"| event | {' | '.join(names)} | leak | because … |",
        "|---|" + "---|" * (len(ways) + 2),
    ]
    for effect in _telling(_merged(ways), catalogue)[:LISTED]:
        links = [next((e.link for e in m.effects if e.event == effect.event), 0.0) for m in ways]
        cells = " | ".join(f"{link:.2f}" if link else "" for link in links)
        here = " (at the layer)" if effect.local else ""
        detector = catalogue.detector(effect.event)
        event = f"[{effect.event}](#event-{effect.event}){here}"
        meaning = detector.meaning.replace("|", "\\|")
        lines.append(f"| {event} | {cells} | {detector.leak:.3f} | {meaning} |")
    return lines


def _merged(ways: list[Mechanism]) -> list[Effect]:
    """Return the effects of all ways of a mechanism, the strongest link of each event."""
    best: dict[str, Effect] = {}
    for effect in chain.from_iterable(m.effects for m in ways):
        if effect.event not in best or effect.link > best[effect.event].link:
            best[effect.event] = effect
    return list(best.values())


def _telling(effects: list[Effect], catalogue: Catalogue) -> list[Effect]:
    """Return effects, those first that speak most for the mechanism: link times log(link / leak)."""

    def worth(effect: Effect) -> float:
        leak = max(catalogue.detector(effect.event).leak, 1e-4)
        return effect.link * math.log(max(effect.link / leak, 1.0))

    return sorted(effects, key=lambda e: (-worth(e), e.event))


def _words(slug: str) -> str:
    return slug.replace("_", " ")


def _link(slug: str) -> str:
    return f"[{slug}](#{slug})" if slug in DEFAULT.slugs() else slug


def _unknown(catalogue: Catalogue) -> list[str]:
    lines = ["### None of these", "", f"#### {UNKNOWN}", ""]
    _, *story, remedy, _ = UNKNOWN_TEXT.splitlines()
    lines += [" ".join(line.strip() for line in story), ""]
    lines += [f"- **Prior** {catalogue.p_unknown:.3f}"]
    lines += [f"- **Try** {remedy.strip().removeprefix('try ')}", ""]
    return lines


# -- influences and detectors -------------------------------------------------------------------


def _influences() -> list[str]:
    rank = ", ".join(_words(kind) for kind in sorted(RANK, key=lambda kind: RANK[kind]))
    lines = [INFLUENCE_TEXT.format(rank=rank)]
    lines.append("| from ↓ to → | " + " | ".join(map(_words, EVENT_KINDS)) + " |")
    lines.append("|---|" + "---|" * len(EVENT_KINDS))
    for source in EVENT_KINDS:
        cells = (INFLUENCES.get((source, target)) for target in EVENT_KINDS)
        told = (f"{cell[0]} {cell[1]:.2f}" if cell else "" for cell in cells)
        lines.append(f"| **{_words(source)}** | " + " | ".join(told) + " |")
    return [*lines, ""]


def _detectors(catalogue: Catalogue) -> list[str]:
    lines = ["## Detectors", ""]
    for kind in EVENT_KINDS:
        lines += [f"### {_words(kind).capitalize()}", ""]
        lines += ["| event | because … | fires when | leak | source |", "|---|---|---|---|---|"]
        lines += [_detector(d) for d in catalogue.detectors if d.kind == kind]
        lines.append("")
    return lines[:-1]


def _detector(detector: Detector) -> str:
    cells = (
        detector.name,
        # A place to link to: the rows of a table have no names of their own.
        f'<a id="event-{detector.name}"></a>{detector.meaning}',
        _condition(detector),
        f"{detector.leak:.3f}",
        detector.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _condition(detector: Detector) -> str:
    sign = ">" if detector.side == "above" else "<"
    text = f"`{detector.reads}` {sign} {detector.threshold:g}"
    if detector.patience > 1:
        text += f", {detector.patience} points running"
    if detector.until is not None:
        text += f", before step {detector.until}"
    if detector.since:
        text += f", from step {detector.since}"
    return text


if __name__ == "__main__":
    sys.exit(main())
