"""The report: one HTML file that needs no network, runs no foreign script, and can be read without any."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.diagnosis import CausalChain, CausalHypothesis, Diagnosis
from neuraldbg.records.names import label
from neuraldbg.records.recording import Recording
from neuraldbg.report.about import about_html
from neuraldbg.report.html import chain_html, layer_html
from neuraldbg.report.maps import curves, heat_maps
from neuraldbg.report.plot import plot_svg
from neuraldbg.report.svg import to_svg

__all__ = ["to_page"]

SHOWN, MOST_EVENTS, MOST_DRAWN = 8, 600, 400


def to_page(diagnosis: Diagnosis, recording: Recording, catalogue: Catalogue) -> str:
    """Return the report of one run as one HTML document.

    Parameters
    ----------
    diagnosis
        What the engine concluded.
    recording
        What it was concluded from: curves and maps come from here.
    catalogue
        Gives events their meaning in words.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    total = len(diagnosis.events)
    diagnosis = _trimmed(diagnosis)
    data = _data(diagnosis, recording, catalogue)
    sections = [
        _header(diagnosis, recording),
        _causes(diagnosis, catalogue),
        _graph(diagnosis),
        _maps(bool(data["maps"])),
        _curves(diagnosis, recording),
        _remedies(diagnosis),
        _coverage(diagnosis, recording),
        _events(diagnosis, total),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(_verdict(diagnosis))}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<main>\n{''.join(sections)}</main>\n"
        f'<script type="application/json" id="data">{_json(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _trimmed(diagnosis: Diagnosis) -> Diagnosis:
    """Return the same diagnosis with the events that a page can hold: the chains and the strongest."""
    chains = {e.id for x in diagnosis.explanations if x.chain is not None for e in x.chain}
    ranked = sorted(diagnosis.graph.events, key=lambda e: (e.id not in chains, -e.strength, e.id))
    kept = {e.id for e in ranked[:MOST_EVENTS]}
    graph = replace(
        diagnosis.graph,
        events=tuple(e for e in diagnosis.graph.events if e.id in kept),
        edges=tuple(e for e in diagnosis.graph.edges if e.source in kept and e.target in kept),
    )
    return replace(diagnosis, events=graph.events, graph=graph)


def _asset(name: str) -> str:
    return files("neuraldbg.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def _json(data: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def _data(diagnosis: Diagnosis, recording: Recording, catalogue: Catalogue) -> dict[str, Any]:
    meanings = {d.name: d.meaning for d in catalogue.detectors}
    place = {e.id: i for i, e in enumerate(diagnosis.events)}
    used = {e.name for e in diagnosis.events}
    return {
        "layers": [label(layer.name) for layer in recording.topology.layers],
        "meanings": {name: text for name, text in meanings.items() if name in used},
        "events": [
            {
                "name": e.name,
                "kind": e.kind,
                "layer": None if e.layer is None else label(e.layer),
                "first": e.span.first,
                "last": e.span.stop - 1,
                "before": e.before,
                "after": e.after,
                "strength": round(float(e.strength), 3),
                "confidence": round(float(e.confidence), 3),
                "value": None if e.value is None else float(f"{e.value:.4g}"),
            }
            for e in diagnosis.events
        ],
        "edges": [
            [place[e.source], place[e.target], round(e.probability, 3)]
            for e in diagnosis.graph.edges
        ],
        "causes": [_cause_data(h, diagnosis, place) for h in _shown(diagnosis)],
        "maps": heat_maps(recording),
    }


def _cause_data(
    hypothesis: CausalHypothesis, diagnosis: Diagnosis, place: Mapping[str, int]
) -> dict[str, Any]:
    chain = _chain_of(hypothesis, diagnosis)
    return {
        "layer": None if hypothesis.layer is None else label(hypothesis.layer),
        "step": hypothesis.step,
        "events": [place[i] for i in hypothesis.event_ids if i in place],
        "chain": [place[e.id] for e in chain] if chain is not None else [],
    }


def _chain_of(hypothesis: CausalHypothesis, diagnosis: Diagnosis) -> CausalChain | None:
    for explanation in diagnosis.explanations:
        if explanation.hypothesis.mechanism == hypothesis.mechanism:
            return explanation.chain
    return None


def _shown(diagnosis: Diagnosis) -> list[CausalHypothesis]:
    return [h for h in diagnosis.hypotheses if h.p_mechanism >= 0.005][:SHOWN]


def _verdict(diagnosis: Diagnosis) -> str:
    told = diagnosis.explanations[0].sentence if diagnosis.explanations else diagnosis.reason
    return told[:1].upper() + told[1:]


def _header(diagnosis: Diagnosis, recording: Recording) -> str:
    coverage = diagnosis.coverage
    facts = [
        str(recording.facts.get("model") or "model"),
        f"{coverage.steps} steps, {coverage.sampled} of them looked at closely",
        f"{coverage.layers_seen} of {coverage.layers} layers seen",
        *(o.type for o in recording.optimizers),
        str(recording.facts.get("device") or ""),
        "probabilities calibrated" if diagnosis.calibrated else "probabilities not calibrated",
    ]
    mood = "healthy" if diagnosis.healthy else "failed"
    items = "".join(f"<li>{escape(f)}</li>" for f in facts if f)
    also = "".join(f'<p class="also">{escape(e.sentence)}</p>' for e in diagnosis.explanations[1:])
    return (
        f'<header class="{mood}"><p class="brand">NeuralDBG</p><h1>{escape(_verdict(diagnosis))}</h1>'
        f'{also}<ul class="facts">{items}</ul></header>\n'
    )


def _causes(diagnosis: Diagnosis, catalogue: Catalogue) -> str:
    seen = {e.name for e in diagnosis.events}
    rows = [_bar("healthy", diagnosis.p_healthy, "good", "nothing is wrong")]
    for i, h in enumerate(_shown(diagnosis)):
        both = "" if h.layer is None else f"; mechanism and place together {h.probability:.2f}"
        told = f"{escape(h.claim)}{layer_html(h.layer, ' in ', h.others)}, from step {h.step}{both}"
        about = about_html(h.mechanism, catalogue, seen)
        rows.append(_bar(h.mechanism, h.p_mechanism, "bad", told, cause=i) + _evidence(h, i, about))
    return (
        '<section aria-labelledby="causes"><h2 id="causes">Probability of each cause</h2>'
        '<p class="hint">Choose a cause to see its evidence, and its chain and layers below. Several causes may '
        "be at work together, so the bars need not add up to one.</p>"
        f'<div class="bars">{"".join(rows)}</div></section>\n'
    )


def _bar(name: str, p: float, tone: str, told: str, *, cause: int | None = None) -> str:
    inner = (
        f'<span class="name">{escape(name)}</span>'
        f'<svg class="bar {tone}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="10"/><rect class="fill" width="{100 * p:.1f}" height="10"/>'
        f'</svg><span class="p">{p:.2f}</span><span class="told">{told}</span>'
    )
    if cause is None:
        return f'<div class="cause">{inner}</div>'
    return (
        f'<button class="cause" type="button" data-cause="{cause}" aria-pressed="false" '
        f'aria-expanded="false" aria-controls="evidence{cause}">{inner}</button>'
    )


def _evidence(hypothesis: CausalHypothesis, index: int, about: str) -> str:
    lists = (
        ("for it", hypothesis.evidence_for),
        ("against it", hypothesis.evidence_against),
        ("not observed", hypothesis.not_observed),
    )
    blocks = "".join(_block(title, clauses) for title, clauses in lists if clauses)
    factor = hypothesis.bayes_factor
    weight = f"{factor:.2g}" if factor < 1e4 else f"10<sup>{math.floor(math.log10(factor))}</sup>"
    same = (
        f"<p>Passive evidence cannot tell it from {escape(', '.join(hypothesis.equivalent_to))}. "
        f"Experiment: {escape(hypothesis.experiment)}</p>"
        if hypothesis.equivalent_to
        else ""
    )
    return (
        f'<div class="evidence" id="evidence{index}"><div class="lists">{blocks}<div><h3>weight</h3>'
        f"<p>The evidence is {weight} times likelier with this cause than without it.</p>{same}</div></div>"
        f"{about}</div>"
    )


def _block(title: str, clauses: tuple[str, ...]) -> str:
    items = "".join(f"<li>{escape(c)}</li>" for c in clauses)
    return f"<div><h3>{title}</h3><ul>{items}</ul></div>"


def _graph(diagnosis: Diagnosis) -> str:
    if not diagnosis.events:
        return '<section><h2>How it spread</h2><p class="hint">No events.</p></section>\n'
    chain = diagnosis.explanations[0].chain if diagnosis.explanations else None
    few = to_svg(diagnosis.graph, chain, interactive=True, captions=False)
    all_of_them, toggle = "", ""
    if len(diagnosis.events) > few.count("data-event="):
        full = to_svg(diagnosis.graph, chain, most=MOST_DRAWN, interactive=True, captions=False)
        all_of_them = f'<div class="graph" id="all" hidden>{full}</div>'
        toggle = (
            '<button type="button" id="toggle" aria-pressed="false">'
            f"show all {min(len(diagnosis.events), MOST_DRAWN)} events</button>"
        )
    return (
        f'<section aria-labelledby="spread"><h2 id="spread">How it spread {toggle}</h2>'
        '<p class="hint">Rows are layers in the order of execution, time runs to the right; the numbered path '
        "leads from the root to the failure. Choose an event to see what it rests on.</p>"
        f'<div class="graph" id="few">{few}</div>{all_of_them}{_path(chain)}'
        '<p class="panel" id="event" role="status" aria-live="polite"></p></section>\n'
    )


def _path(chain: CausalChain | None) -> str:
    """Return the numbered events in words; below the picture, where they wrap on a narrow window."""
    return (
        f'<div class="path">{chain_html(chain)}</div>' if chain is not None and chain.events else ""
    )


def _maps(there: bool) -> str:  # noqa: FBT001
    if not there:
        return ""
    return (
        '<section aria-labelledby="maps"><h2 id="maps">Layers over time</h2>'
        '<p><label for="signal">Signal</label> <select id="signal"></select></p>'
        '<div class="map"><canvas id="map" tabindex="0" role="img" aria-labelledby="maps" '
        'aria-describedby="reading"></canvas></div>'
        '<p class="hint" id="scale"></p>'
        '<p class="panel" id="reading" role="status" aria-live="polite">Point at a cell, or use the arrow keys, '
        "to read a value.</p></section>\n"
    )


def _curves(diagnosis: Diagnosis, recording: Recording) -> str:
    onsets = [e.hypothesis.step for e in diagnosis.explanations[:1]]
    found = curves(recording)
    wide, narrow = plot_svg(found, onsets), plot_svg(found, onsets, narrow=True)
    if not found:
        return ""
    note = " The dashed line is the onset." if onsets else ""
    return (
        '<section aria-labelledby="curves"><h2 id="curves">Loss and learning rate</h2>'
        f'<p class="hint">On one axis of optimizer steps.{note}</p>'
        f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div></section>\n'
    )


def _remedies(diagnosis: Diagnosis) -> str:
    told = [e.hypothesis for e in diagnosis.explanations]
    if not told:
        return ""
    items = "".join(
        f"<li>{escape(h.remedy)} <span class=hint>({escape(h.mechanism)})</span></li>" for h in told
    )
    tests = "".join(
        f"<li>To tell it apart: {escape(h.experiment)}</li>" for h in told if h.experiment
    )
    return f'<section aria-labelledby="try"><h2 id="try">What to try</h2><ol>{items}{tests}</ol></section>\n'


def _coverage(diagnosis: Diagnosis, recording: Recording) -> str:
    coverage = diagnosis.coverage
    missing = "".join(
        f"<li><b>{escape(u.what)}</b>: {escape(u.why)}</li>" for u in coverage.unobserved
    )
    unseen = (
        f"<ul>{missing}</ul>" if missing else "<p>Everything that the engine asks for was seen.</p>"
    )
    version = escape(str(recording.facts.get("torch") or "unknown"))
    return (
        '<section aria-labelledby="coverage"><h2 id="coverage">What was looked at, and what was not</h2>'
        f"<p>{coverage.steps} steps, {coverage.sampled} sampled; {coverage.layers_seen} of "
        f"{coverage.layers} layers; {coverage.events_judged} kinds of event judged; PyTorch {version}.</p>"
        f"{unseen}</section>\n"
    )


def _events(diagnosis: Diagnosis, total: int) -> str:
    rows = "".join(
        f'<tr data-row="{i}"><td>{e.span.first}</td><td>{e.span.stop - 1}</td>'
        f"<td>{layer_html(e.layer)}</td><td>{escape(e.after)}</td>"
        f"<td>{escape(e.name)}</td><td>{float(e.strength):.2f}</td></tr>"
        for i, e in enumerate(diagnosis.events)
    )
    more = total - len(diagnosis.events)
    rest = f'<p class="hint">{more} more are in the recording.</p>' if more > 0 else ""
    heads = "".join(
        f'<th scope="col">{h}</th>' for h in ("from", "to", "layer", "regime", "event", "strength")
    )
    return (
        f'<section aria-labelledby="events"><h2 id="events">Events</h2><details><summary>'
        f"{len(diagnosis.events)} events as a table</summary>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{rest}</details></section>\n"
    )
