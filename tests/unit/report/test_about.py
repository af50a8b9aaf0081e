"""Every hypothesis says where to read on, and there is something to read."""

from __future__ import annotations

import pytest

from benchmarks import logic_graph
from neuraldbg.catalogue import DEFAULT
from neuraldbg.catalogue.page import page_of, refutations
from neuraldbg.cli import main
from neuraldbg.records.catalogue import Detector, Effect, Mechanism
from neuraldbg.report import to_page
from neuraldbg.report.about import about_html

SLUGS = (*DEFAULT.slugs(), "unknown_cause")
MINE = DEFAULT.with_(
    detectors=[
        Detector(
            name="coffee_cold",
            kind="data_anomaly",
            reads="loss_level",
            threshold=1.0,
            after="cold",
            meaning="the coffee <b>is cold</b>",
            source="my kitchen",
        )
    ],
    mechanisms=[
        Mechanism(
            slug="nobody_drinks",
            claim="nobody drinks it",
            story="It was made & forgotten.",
            prior=0.1,
            effects=(Effect(event="coffee_cold", link=0.8),),
            remedy="drink it",
            source="my kitchen",
        )
    ],
)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_place_that_a_hypothesis_names_exists_on_the_page_and_on_the_command_line(slug, capsys):
    command, _, place = page_of(slug).partition(", or ")
    anchor = place.partition("logic_graph.md#")[2]
    assert f"#### {anchor}\n" in logic_graph.page(DEFAULT)
    assert main(command.split()[1:]) == 0
    assert capsys.readouterr().out.startswith(slug)


def test_the_details_of_an_explanation_say_where_to_read_on(saved):
    for explanation in saved.explain_failure():
        assert page_of(explanation.hypothesis.mechanism) in explanation.details


def test_the_report_tells_every_shown_mechanism_at_length(saved):
    page = to_page(saved.diagnose(), saved.recording, DEFAULT)
    shown = [h.mechanism for h in saved.diagnose().hypotheses if h.p_mechanism >= 0.005][:8]
    assert [s for s in shown if f"<summary>about {s}</summary>" not in page] == []
    first = DEFAULT.mechanism(shown[0])
    assert first.story in page
    assert first.source in page


def test_a_mechanism_of_the_users_own_is_told_from_its_record_and_as_text():
    html = about_html("nobody_drinks", MINE, {"coffee_cold"})
    assert "made &amp; forgotten" in html
    assert "<td>the coffee &lt;b&gt;is cold&lt;/b&gt;</td><td>0.80</td><td>seen</td>" in html
    assert "my kitchen" in html
    # It is on nobody's page but its own.
    assert "Read on" not in html


def test_evidence_that_was_not_there_is_told_so():
    assert "<td>not seen</td>" in about_html("nobody_drinks", MINE, ())


def test_what_no_record_describes_has_only_the_place_to_read_on():
    assert "logic_graph.md#unknown_cause" in about_html("unknown_cause", DEFAULT, ())
    assert about_html("never_heard_of", DEFAULT, ()) == ""


def test_what_only_corrects_the_weight_of_own_evidence_refutes_nothing():
    way = Mechanism(
        slug="m",
        claim="c",
        story="s",
        prior=0.1,
        effects=(Effect(event="own", link=0.9),),
        forbids=(
            Effect(event="own", link=0.1),
            Effect(event="weak", link=0.9),
            Effect(event="strong", link=0.1),
        ),
        remedy="r",
        source="b",
    )
    assert refutations([way]) == {"strong": 0.1}
