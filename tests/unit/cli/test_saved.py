"""Questions to saved runs on the command line: answers on stdout, one status for one outcome."""

from __future__ import annotations

import io
import json

import jsonschema
import networkx as nx
import pandas as pd
import pytest

from neuraldbg.catalogue import DEFAULT
from neuraldbg.cli import main
from neuraldbg.cli.say import say
from neuraldbg.cli.show import BODIES
from neuraldbg.records.event import FAILURE_KINDS

SENTENCE = "originated in the learning-rate schedule at step 60"


def asked(capsys, *words):
    """Return status, stdout and stderr of a command line."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_explain_says_the_sentence_and_what_it_rests_on(capsys, runs):
    status, out, err = asked(capsys, "explain", runs / "jump.ndbg")
    assert status == 0
    assert SENTENCE in out
    assert "probability of each cause" in out
    assert err == ""


def test_explain_says_of_a_healthy_run_that_it_is(capsys, runs):
    assert "looks healthy" in asked(capsys, "explain", runs / "twin.ndbg")[1]


@pytest.mark.parametrize(
    ("run", "probability", "status"),
    [("jump", "0.9", 1), ("twin", "0.9", 0), ("twin", "0.001", 1)],
    ids=["failed", "healthy", "healthy-but-strict"],
)
def test_the_status_says_whether_a_failure_passed_the_probability(
    capsys, runs, run, probability, status
):
    command = ("explain", runs / f"{run}.ndbg", "--fail-on", probability)
    assert asked(capsys, *command)[0] == status


def test_explain_one_failure(capsys, runs):
    out = asked(capsys, "explain", runs / "jump.ndbg", "--failure", "loss_divergence")[1]
    assert SENTENCE in out
    out = asked(capsys, "explain", runs / "jump.ndbg", "--failure", "nonfinite_values")[1]
    assert out == "no event of the kind nonfinite_values was seen in this run\n"


def test_the_json_of_a_diagnosis_is_of_its_published_schema(capsys, runs):
    schema = json.loads(asked(capsys, "show", "schema")[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    for run in ("jump", "twin", "nan"):
        body = json.loads(asked(capsys, "explain", runs / f"{run}.ndbg", "--json")[1])
        jsonschema.validate(body, schema)
        assert body["schema_version"] == 1
    assert body["hypotheses"][0]["mechanism"] == "nonfinite_data"
    del body["p_healthy"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema)


ANSWERS = [
    ("chain", "FILE", "loss_divergence"),
    ("compare", "FILE", "FILE"),
    ("triage", "DIR"),
    ("watch", "FILE", "--once"),
    ("show", "mechanisms"),
    ("show", "mechanisms", "dead_units"),
    ("show", "events"),
    ("show", "layers", "FILE"),
    ("explain", "FILE", "--failure", "loss_divergence"),
    ("demo", "--list"),
]


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_every_answer_comes_as_strict_json_of_its_published_schema(capsys, runs, words):
    names = {"FILE": runs / "jump.ndbg", "DIR": runs}
    out = asked(capsys, *(names.get(word, word) for word in words), "--json")[1]

    def refuse(token):
        raise AssertionError(token)

    body = json.loads(out, parse_constant=refuse)
    assert body["schema_version"] == 1
    schema = json.loads(asked(capsys, "show", "schema", body["kind"])[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(body, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 1, "kind": body["kind"]}, schema)


def test_every_kind_of_json_is_among_those_tested():
    words = {w[0] if w[0] != "show" else w[1] for w in ANSWERS}
    assert len(BODIES) == len(ANSWERS)
    assert words >= {"chain", "triage", "watch", "layers"}


def test_chain_tells_the_way_from_root_to_failure(capsys, runs):
    out = asked(capsys, "chain", runs / "jump.ndbg", "loss_divergence")[1]
    assert out.splitlines()[0] == "step 60: learning rate jumped (lr_jumped)"
    assert "loss above its start" in out.splitlines()[-1]


def test_report_goes_beside_the_recording_unless_told_otherwise(capsys, runs, tmp_path):
    status, out, _ = asked(capsys, "report", runs / "jump.ndbg")
    assert status == 0
    assert out == f"{runs / 'jump.html'}\n"
    assert SENTENCE in (runs / "jump.html").read_text(encoding="utf-8")
    asked(capsys, "report", runs / "jump.ndbg", "-o", tmp_path / "x.html")
    assert (tmp_path / "x.html").read_bytes() == (runs / "jump.html").read_bytes()


def test_export_writes_the_graph_and_tables(capsys, runs, tmp_path):
    asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "g.graphml")
    graph = nx.read_graphml(tmp_path / "g.graphml")
    assert "lr_jumped" in {d["name"] for _, d in graph.nodes(data=True)}
    asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "e.csv")
    assert "lr_jumped" in set(pd.read_csv(tmp_path / "e.csv")["event"])
    asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "s.jsonl", "--table", "steps")
    steps = pd.read_json(tmp_path / "s.jsonl", lines=True)
    assert steps["step"].tolist() == list(range(120))
    asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "l.csv", "--table", "layers")
    assert "blocks.0.conv1" in set(pd.read_csv(tmp_path / "l.csv")["layer"])


def test_export_to_an_unknown_format_names_the_near_one(capsys, runs, tmp_path):
    status, _, err = asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "g.graphm")
    assert status == 2
    assert "Did you mean '.graphml'?" in err


@pytest.mark.parametrize("name", ["e.csv", "s.jsonl", "g.svg", "g.graphml"])
def test_export_into_a_folder_that_is_not_there_is_told(capsys, runs, tmp_path, name):
    status, out, err = asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "no" / name)
    assert (status, out) == (2, "")
    assert err.startswith("neuraldbg: cannot write ")


def test_export_to_an_unknown_format_names_all_there_are(capsys, runs, tmp_path):
    err = asked(capsys, "export", runs / "jump.ndbg", "-o", tmp_path / "g.xlsx")[2]
    assert ".graphml" in err
    assert ".csv" in err
    assert "Did you mean" not in err


def test_a_folder_is_sent_to_triage(capsys, runs):
    status, _, err = asked(capsys, "explain", runs)
    assert status == 2
    assert f"neuraldbg triage {runs}" in err


def test_an_alias_of_a_failure_is_understood_everywhere(capsys, runs):
    for words in (("chain", runs / "jump.ndbg", "dead_neurons"),
                  ("explain", runs / "jump.ndbg", "--failure", "dead_neurons")):  # fmt: skip
        assert asked(capsys, *words)[0] == 0


def test_without_a_word_the_help_is_shown(capsys):
    assert main([]) == 2
    assert "explain   say why a saved run failed" in capsys.readouterr().err


def test_run_without_a_script_asks_for_one(capsys):
    err = refused(capsys, "run", "--json")
    assert err.endswith("the following arguments are required: SCRIPT\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_lines_stay_within_a_terminal_and_under_their_block(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    say("    because       " + "word " * 30, out)
    first, *rest = out.getvalue().rstrip("\n").split("\n")
    assert first.startswith("    because       word")
    assert rest
    assert all(line.startswith(" " * 18 + "word") for line in rest)
    assert all(len(line) <= 60 for line in (first, *rest))


def test_a_piped_line_is_not_broken(capsys):
    say("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_what_would_steer_a_terminal_is_shown_and_not_obeyed(capsys):
    say("layer '\x1b[2J\x07\r' is dead\nnext")
    assert capsys.readouterr().out == "layer '�[2J��' is dead\nnext\n"


@pytest.mark.parametrize("slug", ["parameters_not_updated", "learning_rate_schedule_bug"])
def test_a_mechanism_tells_its_ways_and_once_what_they_share(capsys, slug):
    out = asked(capsys, "show", "mechanisms", slug)[1]
    ways = [m for m in DEFAULT.mechanisms if m.slug == slug]
    assert out.count("seen as") == len(ways) > 1
    assert out.count(ways[0].story[:40]) == 1
    assert "{" not in out


def test_a_file_that_is_not_there_is_answered_with_the_near_ones(capsys, runs):
    status, out, err = asked(capsys, "explain", runs / "jmup.ndbg")
    assert (status, out) == (2, "")
    assert "Did you mean 'jump.ndbg'" in err


def test_a_file_that_is_no_recording_is_refused(capsys, tmp_path):
    (tmp_path / "a.ndbg").write_bytes(b"not this")
    status, _, err = asked(capsys, "report", tmp_path / "a.ndbg")
    assert status == 2
    assert "cannot be read as a recording" in err
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("expalin", "x"), "Did you mean 'explain'?"),
        (("show", "mechanism"), "Did you mean 'mechanisms'?"),
        (("explain", "x", "--failure", "exploding"), "Did you mean 'exploding_gradients'?"),
        (("explain", "x", "--fail-on", "2"), "2 is not a probability in (0, 1]"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else None,
)
def test_a_wrong_word_is_answered_with_the_near_one(capsys, words, near):
    assert near in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("show", "mechanisms", "dead_unit"), "Did you mean 'dead_units'"),
        (("show", "events", "lr_jump"), "Did you mean 'lr_jumped'"),
        (("show", "layers"), "Name a recording"),
        (("demo", "mlp-dead-unit"), "Did you mean 'mlp-dead-units'"),
        (("demo", "mlp-dead-units", "--device", "nowhere"), "Leave --device out"),
        (("chain", "FILE", "loss_divergance"), "Did you mean 'loss_divergence'"),
        (("show", "schema", "chian"), "Did you mean 'chain'"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else None,
)
def test_an_unknown_name_is_answered_with_the_near_one(capsys, runs, words, near):
    status, out, err = asked(capsys, *(runs / "jump.ndbg" if w == "FILE" else w for w in words))
    assert (status, out) == (2, "")
    assert near in err


def test_every_failure_can_be_asked_for(capsys, runs):
    for kind in FAILURE_KINDS:
        status, out, _ = asked(capsys, "chain", runs / "jump.ndbg", kind)
        assert status == 0
        assert out.strip()


def test_nothing_is_coloured_when_piped_and_everything_is_plain_with_no_color(
    capsys, runs, monkeypatch
):
    assert "\033" not in asked(capsys, "explain", runs / "jump.ndbg")[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain_again = asked(capsys, "explain", runs / "jump.ndbg")[1]
    assert "\033[1m" in plain_again
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in asked(capsys, "explain", runs / "jump.ndbg")[1]


def test_show_mechanism_tells_story_evidence_and_source(capsys):
    out = asked(capsys, "show", "mechanisms", "dead_units")[1]
    for word in ("seen as", "layer_dead", "mistaken for", "try ", "source "):
        assert word in out


def test_show_layers_in_the_order_of_execution(capsys, runs):
    out = asked(capsys, "show", "layers", runs / "jump.ndbg")[1]
    names = [line.split()[1] for line in out.splitlines()]
    assert names.index("stem") < names.index("blocks.0.conv1") < names.index("fc")
