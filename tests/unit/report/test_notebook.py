"""What a notebook shows: text, static HTML without script, a picture where a renderer is installed."""

from __future__ import annotations

import base64
import re
import struct
import sys
import types
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from neuraldbg.pipeline import diagnose
from neuraldbg.views import chain_view, diagnosis_view


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def shown(saved):
    """Everything that displays itself, by name."""
    return {
        "run": saved,
        "diagnosis": saved.diagnose(),
        "graph": saved.diagnose().graph,
        "chain": saved.trace_causal_chain("loss_divergence"),
    }


@pytest.fixture
def no_renderer(monkeypatch):
    monkeypatch.setattr("neuraldbg.report.png.RENDERER", "no_such_renderer")


NAMES = ["run", "diagnosis", "graph", "chain"]


@pytest.mark.parametrize("name", NAMES)
def test_everything_shows_itself_as_text_and_as_static_html(shown, name, no_renderer):
    bundle = shown[name]._repr_mimebundle_(include=None, exclude=None)
    assert bundle.keys() == {"text/plain", "text/html"}
    tags = Tags(bundle["text/html"])
    assert not {"script", "style", "link", "img", "iframe"} & {t for t, _ in tags.found}
    assert not any(n.startswith("on") for _, attrs in tags.found for n in attrs)


def test_the_leading_cause_is_told_at_length_and_its_rivals_in_brief(shown, no_renderer):
    found = shown["diagnosis"]
    many = tuple(f"clause {i} <b>" for i in range(9))
    told = tuple(replace(h, evidence_for=many, p_mechanism=0.5) for h in found.hypotheses[:2])
    html = diagnosis_view(replace(found, hypotheses=told))._repr_mimebundle_()["text/html"]
    first, second = html.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:2]
    assert first.count("clause") == 6
    assert "… and 3 more" in first
    assert second.count("clause") == 3
    assert "clause 0 &lt;b&gt;" in first


def test_text_and_html_say_the_same_verdict(shown):
    bundle = shown["diagnosis"]._repr_mimebundle_()
    sentence = str(shown["run"].explain_failure()[0])
    assert sentence in bundle["text/plain"]
    assert sentence in Tags(bundle["text/html"]).text


@pytest.mark.parametrize("name", ["run", "diagnosis", "graph"])
def test_where_a_renderer_is_installed_there_is_a_picture_too(shown, name, monkeypatch):
    asked = []

    def render(svg_string, **options):
        asked.append(svg_string)
        return [137, 80, 78, 71]

    fake = types.SimpleNamespace(svg_to_bytes=render)
    monkeypatch.setitem(sys.modules, "resvg_py", fake)
    bundle = shown[name]._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == b"\x89PNG"
    assert asked[0].startswith("<svg")


def size_of(png):
    """Return width and height of a PNG, after the checksums of all its chunks were found right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, names = 8, []
    while place < len(png):
        length, name = struct.unpack_from(">I4s", png, place)
        body = png[place + 4 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length) == (zlib.crc32(body),)
        names.append(name)
        place += 12 + length
    assert (names[0], names[-1]) == (b"IHDR", b"IEND")
    return struct.unpack_from(">II", png, 16)


@pytest.mark.parametrize("name", ["run", "graph"])
def test_the_picture_of_a_real_renderer_is_a_png_of_the_shape_of_the_drawing(shown, name):
    pytest.importorskip("resvg_py", reason="needs resvg-py (pip install neuraldbg[png])")
    bundle = shown[name]._repr_mimebundle_()
    image = base64.b64decode(bundle["image/png"])
    width, height = size_of(image)
    drawn = re.search(r'viewBox="0 0 (\d+) (\d+)"', bundle["text/html"])
    assert width == 1400
    assert height == pytest.approx(1400 * int(drawn[2]) / int(drawn[1]), abs=1)
    assert 5_000 < len(image) < 500_000


def test_a_picture_that_the_renderer_refuses_is_left_out(shown, monkeypatch):
    def refuse(svg_string, **options):
        msg = "cannot draw this"
        raise ValueError(msg)

    monkeypatch.setitem(sys.modules, "resvg_py", types.SimpleNamespace(svg_to_bytes=refuse))
    assert shown["graph"]._repr_mimebundle_().keys() == {"text/plain", "text/html"}


def test_markup_in_the_name_of_a_layer_is_text(saved, no_renderer):
    bad = "<img src=x onerror=alert(1)>\"'&"
    run = saved.recording
    layers = tuple(replace(x, name=f"{bad}{i}") for i, x in enumerate(run.topology.layers))
    found = diagnose(replace(run, topology=replace(run.topology, layers=layers)))
    view = diagnosis_view(found)
    chain = chain_view(found.explanations[0].chain)
    for value in (view, view.graph, chain):
        html = value._repr_mimebundle_()["text/html"]
        assert "img" not in {tag for tag, _ in Tags(html).found}
    assert bad in Tags(view._repr_mimebundle_()["text/html"]).text


def test_a_run_without_events_says_so(no_renderer):
    from neuraldbg.records.recording import Recording

    view = diagnosis_view(diagnose(Recording()))
    assert "No events." in view._repr_mimebundle_()["text/html"]
