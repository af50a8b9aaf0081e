"""The picture of the event graph: everything that matters is there, in order, and nothing covers anything."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from neuraldbg.records.diagnosis import CausalChain, CausalEdge, EventGraph
from neuraldbg.records.event import EVENT_KINDS, SemanticEvent, StepSpan
from neuraldbg.report.layout import GAP, LEFT, WIDTH, arrange
from neuraldbg.report.svg import COLOURS, to_svg

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    return ET.fromstring(text)  # noqa: S314 - our own text


def event(name, layer, first, kind="gradient_health", strength=1.0, **fields):
    return SemanticEvent(
        id=f"{name}@{layer}#{first}",
        name=name,
        kind=kind,
        before="healthy",
        after=name,
        layer=layer,
        span=StepSpan(first, first + 5),
        strength=strength,
        **fields,
    )


def edge(a, b):
    return CausalEdge(source=a.id, target=b.id, probability=0.5, lag=1, direction="forward")


def chain_of(*events):
    edges = tuple(edge(a, b) for a, b in pairwise(events))
    return CausalChain(failure="x", events=events, edges=edges)


A, B, C = event("a", "l2", 3), event("b", "l10", 3), event("c", None, 90, "loss_dynamics")
GRAPH = EventGraph(events=(A, B, C), edges=(edge(A, B), edge(B, C)), layers=("l2", "l10"))


def test_rows_follow_the_execution_and_not_the_alphabet():
    assert arrange(GRAPH, None).lanes == ("l2", "l10", "loss")


def test_later_events_lie_farther_right():
    places = arrange(GRAPH, None).places
    assert places[A.id].x == places[B.id].x < places[C.id].x


def test_events_of_one_row_and_step_do_not_cover_one_another():
    crowd = tuple(event(f"e{i}", "l2", 3) for i in range(6))
    places = arrange(EventGraph(events=crowd), None).places
    xs = [places[e.id].x for e in crowd]
    assert all(b - a >= GAP for a, b in pairwise(xs))


def test_a_crowd_stays_within_the_picture():
    crowd = tuple(event(f"e{i}", "l2", i) for i in range(60))
    places = arrange(EventGraph(events=crowd), None).places
    assert all(LEFT <= p.x <= WIDTH for p in places.values())


def test_a_plateau_stands_where_it_was_known():
    plateau = event("slow", None, 0, "loss_dynamics", failure="loss_plateau")
    places = arrange(
        EventGraph(events=(event("a", "l2", 0), event("z", "l2", 4), plateau)), None
    ).places
    assert places[plateau.id].x == places["z@l2#4"].x


def test_the_chain_is_drawn_even_if_its_events_are_the_weakest():
    strong = tuple(event(f"e{i}", f"l{i % 9}", i, strength=9.0) for i in range(200))
    weak = event("weak", "last", 200, strength=0.0)
    layout = arrange(EventGraph(events=(*strong, weak)), chain_of(weak))
    assert weak.id in layout.places
    assert len(layout.events) <= 60
    assert layout.hidden == 201 - len(layout.events)


def test_the_chain_is_numbered_from_root_to_symptom():
    root = parsed(to_svg(GRAPH, chain_of(A, B, C)))
    numbers = {
        g.find(f"{SVG}title").text.split(":")[0]: g.find(f"{SVG}text").text
        for g in root.findall(f"{SVG}g")
    }
    assert numbers == {"l2": "1", "l10": "2", "run": "3"}


def test_ids_of_two_pictures_on_one_page_differ():
    def ids(text):
        return {e.get("id") for e in parsed(text).iter() if e.get("id")}

    first, second = to_svg(GRAPH), to_svg(EventGraph(events=(A,)))
    assert ids(first)
    assert not ids(first) & ids(second)


def test_a_static_picture_has_neither_script_nor_style_nor_handles():
    drawn = to_svg(GRAPH)
    assert not {"script", "style", "tabindex", "data-event"} & set(
        drawn.replace("=", " ").replace("<", " ").split()
    )


def test_an_interactive_picture_can_be_reached_by_keyboard():
    root = parsed(to_svg(GRAPH, interactive=True))
    marks = [g for g in root.findall(f"{SVG}g") if g.get("data-event")]
    assert len(marks) == 3
    assert all(g.get("tabindex") == "0" and g.get("aria-label") for g in marks)


def test_the_chain_is_told_in_words_below_the_picture():
    root = parsed(to_svg(GRAPH, chain_of(A, B, C)))
    told = [t.text for t in root.findall(f"{SVG}text") if (t.text or "").startswith("step ")]
    assert told == ["step 3: a in 'l2' (a)", "step 3: b in 'l10' (b)", "step 90: c (c)"]
    lowest = max(float(t.get("y")) for t in root.findall(f"{SVG}text"))
    assert lowest < float(root.get("viewBox").split()[3])


def test_without_captions_the_picture_is_lower():
    height = [
        float(parsed(to_svg(GRAPH, chain_of(A, B), captions=c)).get("viewBox").split()[3])
        for c in (True, False)
    ]
    assert height[0] > height[1]


@pytest.mark.parametrize("name", ["<script>", "\"&'", "a" * 300, "", "层\u202e", "\x01\x00"])
def test_any_name_of_a_layer_gives_a_well_formed_picture(name):
    parsed(to_svg(EventGraph(events=(event("a", name, 0),), layers=(name,)), interactive=True))


def test_every_kind_has_a_colour_and_a_shape_of_its_own():
    assert COLOURS.keys() == set(EVENT_KINDS)
    assert len(set(COLOURS.values())) == len(EVENT_KINDS)
    drawn = to_svg(EventGraph(events=tuple(event(k, "l", 0, k) for k in EVENT_KINDS)))
    assert drawn.count("<circle") == 2


def test_an_empty_graph_is_an_empty_picture():
    parsed(to_svg(EventGraph()))
