"""The report as a file: one, offline, strict, small, and true to the diagnosis."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.recording import topology
from neuraldbg.catalogue import DEFAULT
from neuraldbg.errors import ExportError
from neuraldbg.pipeline import diagnose
from neuraldbg.records.diagnosis import CausalEdge, EventGraph
from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.recording import Column, Recording
from neuraldbg.report import to_page


class Reader(HTMLParser):
    """Collects elements, attributes and the text of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.elements, self.raw, self._inside = [], {}, None

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside = f"{tag}:{dict(attrs).get('type', '')}"

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data


@pytest.fixture(scope="module")
def page(saved):
    return to_page(saved.diagnose(), saved.recording, DEFAULT)


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_policy_allows_our_script_and_style_and_nothing_else(read):
    policy = next(a["content"] for t, a in read.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    for kind, source in (("script-src", "script:"), ("style-src", "style:")):
        digest = hashlib.sha256(read.raw[source].encode()).digest()
        assert f"{kind} 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_loaded_from_anywhere_and_no_attribute_runs_or_styles(read):
    for tag, attributes in read.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "href", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)


def test_the_verdict_is_the_first_sentence(saved, page):
    sentence = str(saved.explain_failure()[0])
    assert re.search(r"<h1>(.*?)</h1>", page)[1].replace("&#x27;", "'") == sentence


def test_the_same_run_gives_the_same_page(saved, page):
    assert to_page(saved.diagnose(), saved.recording, DEFAULT) == page


def test_a_typical_report_is_small(page):
    assert len(page.encode()) < 300_000


def test_the_data_of_the_page_are_those_of_the_diagnosis(saved, read):
    data = json.loads(read.raw["script:application/json"])
    seen = [(e["name"], e["layer"], e["first"]) for e in data["events"]]
    assert seen == [(e.name, e.layer, e.span.first) for e in saved.events]
    first = saved.get_causal_hypotheses()[0]
    assert data["causes"][0]["step"] == first.step
    told = [saved.events[i].id for i in data["causes"][0]["events"]]
    assert told == list(first.event_ids)
    assert {e["name"] for e in data["events"]} == data["meanings"].keys()


def test_every_event_of_the_picture_is_in_the_table(read):
    drawn = {a["data-event"] for _, a in read.elements if "data-event" in a}
    rows = {a["data-row"] for _, a in read.elements if "data-row" in a}
    assert drawn
    assert drawn <= rows


def test_a_run_without_any_step_has_a_report_too():
    page = to_page(diagnose(Recording()), Recording(), DEFAULT)
    assert "there is nothing to judge" in page


def test_the_report_of_a_very_large_run_stays_below_two_megabytes():
    rng = np.random.default_rng(0)
    graph, rows = topology(500), 300
    size = np.exp(rng.normal(size=(rows, 500)) * 3).astype(np.float32)
    seen = np.ones(size.shape, bool)
    steps = np.arange(10_000)
    loss = Column(rng.random(10_000).astype(np.float32), np.ones(10_000, bool))
    run = Recording(
        topology=graph,
        steps=steps,
        sampled=steps[:: 10_000 // rows][:rows],
        step={"loss": loss, "grad_norm_used": loss},
        layer={n: Column(size, seen) for n in ("act_rms", "out_grad_rms", "zero_share")},
        param={n: Column(size, seen) for n in ("update_ratio", "weight_norm")},
    )
    events = tuple(
        SemanticEvent(
            id=f"gradient_vanishing@block.{i % 500}#{i}",
            name="gradient_vanishing",
            kind="gradient_health",
            before="healthy",
            after="gradient vanished",
            layer=f"block.{i % 500}",
            span=StepSpan(i, i + 9),
        )
        for i in range(2000)
    )
    edges = tuple(
        CausalEdge(source=a.id, target=b.id, probability=0.5, lag=1, direction="backward")
        for lag in range(1, 7)
        for a, b in zip(events, events[lag:], strict=False)
    )
    graph = EventGraph(events=events, edges=edges)
    found = replace(diagnose(run), events=events, graph=graph, explanations=())
    assert len(to_page(found, run, DEFAULT).encode()) < 2_000_000


def test_a_folder_that_is_not_there_is_told(saved, tmp_path):
    with pytest.raises(ExportError, match="cannot write"):
        saved.report(tmp_path / "none" / "run.html")


def test_markup_in_names_is_text(saved):
    bad = "<img src=x onerror=alert(1)>\"'&"
    run = saved.recording
    layers = tuple(replace(x, name=f"{bad}{i}") for i, x in enumerate(run.topology.layers))
    run = replace(run, topology=replace(run.topology, layers=layers))
    reader = Reader()
    reader.feed(to_page(diagnose(run), run, DEFAULT))
    assert "img" not in {tag for tag, _ in reader.elements}
