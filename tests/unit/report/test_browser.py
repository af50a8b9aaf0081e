"""The report in a real browser with the network off: no complaint, and everything can be reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neuraldbg.catalogue import DEFAULT
from neuraldbg.explain import tell
from neuraldbg.pipeline import diagnose
from neuraldbg.report import to_page
from tests.unit.report import browser as web

pytestmark = pytest.mark.skipif(web.DRIVER is None or web.CHROMIUM is None, reason=web.MISSING)

ARROW_DOWN, ARROW_RIGHT, ENTER, TAB = "\ue015", "\ue014", "\ue007", "\ue004"


@pytest.fixture(scope="module")
def report(saved, tmp_path_factory):
    return saved.report(tmp_path_factory.mktemp("page") / "run.html")


@pytest.fixture(params=[(1200, 900), (420, 900)], ids=["wide", "narrow"], scope="module")
def page(request, report):
    with web.chromium(request.param) as browser:
        browser.open(report)
        yield browser


def test_nothing_is_complained_about_and_nothing_is_asked_of_the_network(page):
    assert page.log() == []
    assert page.run("return performance.getEntriesByType('resource').length") == 0


def test_the_page_is_no_wider_than_the_window(page):
    assert page.run(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_the_beginning_of_the_chain_is_in_view(page):
    inside = (
        "const mark = document.querySelector('#few g.lit').getBoundingClientRect();"
        "const box = document.querySelector('#few').getBoundingClientRect();"
        "return box.left <= mark.left && mark.right <= box.right"
    )
    assert page.run(inside)


def test_one_plot_of_the_curves_is_shown_and_fits(page):
    widths = page.run(
        "return [...document.querySelectorAll('.wide, .narrow')].map(e => e.offsetWidth)"
    )
    assert sorted(w > 0 for w in widths) == [False, True]
    assert max(widths) <= page.run("return document.documentElement.clientWidth")


def test_a_mechanism_can_be_read_about_without_leaving_the_page(page):
    page.run("document.querySelector('.evidence.open .about').open = true")
    told = page.run("return document.querySelector('.evidence.open .about').innerText")
    assert "expected evidence" in told.lower()
    assert "logic_graph.md#learning_rate_schedule_bug" in told


def test_the_leading_cause_is_open_at_first_and_its_chain_is_lit(page):
    pressed = "return document.querySelectorAll('button.cause[aria-pressed=true]').length"
    assert page.run(pressed) == 1
    assert page.run("return document.querySelectorAll('#few path.lit').length") >= 1
    assert page.run("return document.querySelector('.evidence.open') !== null")


def test_another_cause_lights_other_events(page):
    lit = "return [...document.querySelectorAll('#few g.lit')].map(g => g.dataset.event).sort().join()"
    first = page.run(lit)
    page.run("document.querySelector('button[data-cause=\"2\"]').scrollIntoView()")
    page.click('button[data-cause="2"]')
    assert page.run(lit) != first
    assert page.run("return document.querySelector('#evidence2').offsetHeight") > 0
    page.click('button[data-cause="2"]')
    assert page.run("return document.querySelector('svg.dimmed')") is None
    page.click('button[data-cause="0"]')
    assert page.run(lit) == first


def test_an_event_tells_what_it_rests_on_by_mouse_and_by_keyboard(page):
    page.run("document.querySelector('g[data-event]').focus()")
    told = page.run("return document.querySelector('#event').textContent")
    assert "strength" in told
    page.keys(TAB)
    assert page.run("return document.querySelector('#event').textContent") != told
    assert page.run("return document.querySelectorAll('g.chosen').length") == 1


def test_the_map_tells_values_by_keyboard(page):
    page.focus("#map")
    page.keys(ARROW_RIGHT)
    first = page.run("return document.querySelector('#reading').textContent")
    assert first.startswith("stem, step 0: activation size (rms) about")
    page.keys(ARROW_DOWN)
    assert page.run("return document.querySelector('#reading').textContent").startswith(
        "blocks.0.conv1, step 0"
    )


def test_every_signal_can_be_drawn(page):
    count = page.run("return document.querySelector('#signal').options.length")
    assert count >= 4
    for index in range(count):
        page.run(
            "const s = document.querySelector('#signal'); s.selectedIndex = arguments[0];"
            "s.dispatchEvent(new Event('change'))",
            index,
        )
        assert page.run("return document.querySelector('#map').height") > 20
    assert page.log() == []


def test_everything_that_reacts_has_a_name_for_screen_readers(page):
    nameless = (
        "return [...document.querySelectorAll('button, select, canvas, [role=button]')].filter(e => "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||"
        " document.querySelector(`label[for=${e.id}]`))).length"
    )
    assert page.run(nameless) == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_colour_schemes(report, dark):
    with web.chromium(dark=dark) as browser:
        browser.open(report)
        colours = browser.run(
            "const c = s => getComputedStyle(document.querySelector(s));"
            "return [c('h1').color, c('body').backgroundColor, c('.hint').color,"
            " c('section').backgroundColor]"
        )
        brightness = [_brightness(c) for c in colours]
        assert (brightness[1] < 0.2) == dark
        assert _contrast(*brightness[:2]) > 7
        assert _contrast(*brightness[2:]) > 4.5


def _brightness(colour: str) -> float:
    """Return relative luminance as WCAG 2 defines it."""
    parts = [int(p) / 255 for p in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_names_of_layers_are_text_and_never_markup(saved, tmp_path):
    bad = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'&"
    run = saved.recording
    layers = tuple(replace(x, name=f"{bad}{i}") for i, x in enumerate(run.topology.layers))
    run = replace(run, topology=replace(run.topology, layers=layers))
    found = diagnose(run)
    # Whatever is accused, it is made to name a layer: in the verdict, the bars, the evidence and the map.
    claim = replace(found.hypotheses[0], layer=layers[0].name)
    found = replace(
        found,
        hypotheses=(claim, *found.hypotheses[1:]),
        explanations=(tell(claim, (claim,), found.explanations[0].chain),),
    )
    path = tmp_path / "bad.html"
    path.write_text(to_page(found, run, DEFAULT), encoding="utf-8")
    with web.chromium() as browser:
        browser.open(path)
        assert browser.run("return window.hacked") is None
        assert browser.run("return document.images.length") == 0
        assert browser.run("return document.scripts.length") == 2
        assert browser.log() == []
        assert f"'{bad}0'" in browser.run("return document.querySelector('h1').textContent")
        assert browser.run("return document.title").startswith(claim.symptom)
