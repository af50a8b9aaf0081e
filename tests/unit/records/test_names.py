"""A model that is itself one layer, or has parameters of its own, is named in text and keeps its empty name."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg, load
from neuraldbg.cli import main
from neuraldbg.export import FORMATS
from neuraldbg.records.names import clause, in_words, label, quoted
from neuraldbg.saved import SavedRun
from tests.loops import clusters

LAYER = "zebra"


@pytest.mark.parametrize(
    ("layer", "cell", "inside", "alone"),
    [
        pytest.param("fc1", "fc1", "'fc1'", "layer 'fc1'", id="a layer"),
        pytest.param("", "(the model)", "the model itself", "the model itself", id="the model"),
    ],
)
def test_every_layer_has_a_name_in_text(layer: str, cell: str, inside: str, alone: str) -> None:
    assert (label(layer), quoted(layer), in_words(layer)) == (cell, inside, alone)
    assert clause(layer) == f" in {inside}"


def test_what_is_in_no_layer_is_not_the_model() -> None:
    assert clause(None) == ""
    assert label(None, "run") == "run"
    assert label("", "run") == "(the model)"


class Wrapped(nn.Module):
    """The same layer under a name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(LAYER, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(LAYER)(x)


def singular(model: nn.Module, out: Tensor, step: int) -> Tensor:
    """Take a root at exactly zero from step 20 on."""
    return out if step < 20 else torch.sqrt((out - out[:, :1]) ** 2)


def orphaned(model: nn.Module, out: Tensor, step: int) -> Tensor:
    """Do nothing: the optimizer has half of the parameters."""
    return out


FAULTS = {"singular": singular, "orphaned": orphaned}


def trained(fault: str, path: Path, *, wrapped: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    model = Wrapped(layer) if wrapped else layer
    stepped = [layer.bias] if fault == "orphaned" else layer.parameters()
    optimizer = torch.optim.SGD(stepped, lr=0.05)
    with NeuralDbg(model, save=path):
        for step in range(40):
            x, y = clusters(step)
            optimizer.zero_grad()
            F.cross_entropy(FAULTS[fault](model, model(x), step), y).backward()
            optimizer.step()


@pytest.fixture(scope="module", params=FAULTS)
def runs(request, tmp_path_factory) -> tuple[SavedRun, SavedRun]:
    """Return one run whose model is the layer, and one that wraps it."""
    folder = tmp_path_factory.mktemp(request.param)
    paths = folder / "bare.ndbg", folder / "wrapped.ndbg"
    for path in paths:
        trained(request.param, path, wrapped=path is paths[1])
    return load(paths[0]), load(paths[1])


def plain(text: str) -> list[str]:
    """Return the words of a text without the numbers that pictures are told apart by."""
    text = re.sub(r"\b([td])[0-9a-f]{12}\b", r"\1", html.unescape(text))
    return text.replace("#40;", "(").replace("#41;", ")").split()


def renamed(text: str) -> list[str]:
    """Return the words of what is said of the wrapped layer, said of a model that is that layer."""
    text = html.unescape(text).replace("Wrapped", "Linear").replace("wrapped", "bare")
    text = text.replace(f"layer '{LAYER}'", "the model itself")
    text = text.replace(f"'{LAYER}'", "the model itself").replace(f"@{LAYER}#", "@model#")
    return plain(text.replace(f"{LAYER}.", "").replace(LAYER, "(the model)"))


def written(name: str) -> Callable[[SavedRun, Path], str]:
    def read(run: SavedRun, folder: Path) -> str:
        path = folder / name
        run.report(path) if name.endswith("html") else run.export_graph(path)
        return path.read_text(encoding="utf-8")

    return read


TOLD: dict[str, Callable[[SavedRun, Path], str]] = {
    "sentence": lambda run, _: run.explain_failure()[0].sentence,
    "details": lambda run, _: run.explain_failure()[0].details,
    "remedies": lambda run, _: "\n".join(h.remedy for h in run.diagnose().hypotheses),
    "chains": lambda run, _: "\n".join(str(e.chain) for e in run.explain_failure()),
    "events": lambda run, _: run.events_frame().to_csv(),
    "hypotheses": lambda run, _: run.hypotheses_frame().to_csv(),
    "layers": lambda run, _: run.layers_frame().to_csv(),
    "notebook": lambda run, _: run.diagnose()._repr_mimebundle_()["text/html"],
    **{f"file {suffix}": written(f"graph{suffix}") for suffix in FORMATS},
    "report": written("report.html"),
}


@pytest.mark.parametrize("told", TOLD)
def test_what_is_told_of_the_model_is_what_is_told_of_a_layer(runs, told: str, tmp_path) -> None:
    bare, wrapped = (TOLD[told](run, tmp_path) for run in runs)
    assert plain(bare) == renamed(wrapped)


def test_records_keep_the_name_that_the_model_finds_it_by(runs) -> None:
    bare, _ = runs
    places = {h.layer for h in bare.diagnose().hypotheses} | {e.layer for e in bare.events}
    assert places == {"", None}
    assert [layer.name for layer in bare.recording.topology.layers] == [""]
    assert " in the model itself at step " in str(bare.explain_failure()[0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Return a folder with the recording of a run whose model is the layer, and one of a run that wraps it."""
    bare, wrapped = (tmp_path_factory.mktemp(name) for name in ("bare", "wrapped"))
    for folder in (bare, wrapped):
        trained("singular", folder / "run.ndbg", wrapped=folder is wrapped)
    return bare, wrapped


COMMANDS = {
    "watch": ("watch", "{}/run.ndbg", "--once"),
    "show layers": ("show", "layers", "{}/run.ndbg"),
    "triage": ("triage", "{}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_so_is_what_the_command_line_says(folders, command: str, capsys) -> None:
    said = []
    for folder in folders:
        main([word.format(folder) for word in COMMANDS[command]])
        said.append(capsys.readouterr().out)
    assert plain(said[0]) == renamed(said[1])
    assert "the model" in said[0]


def test_two_runs_part_in_the_model(folders, tmp_path, capsys) -> None:
    trained("orphaned", tmp_path / "other.ndbg", wrapped=False)
    main(["compare", str(folders[0] / "run.ndbg"), str(tmp_path / "other.ndbg")])
    assert " in the model itself" in capsys.readouterr().out


def test_a_model_that_was_not_called_is_named_among_what_was_not_seen() -> None:
    model = Wrapped(nn.Linear(8, 4))
    model.register_parameter("scale", nn.Parameter(torch.ones(1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with NeuralDbg(model) as dbg:
        for step in range(3):
            x, y = clusters(step)
            optimizer.zero_grad()
            F.cross_entropy(model.scale * model.get_submodule(LAYER)(x), y).backward()
            optimizer.step()
    assert [u.what for u in dbg.recording.unobserved] == ["layers (the model)"]
