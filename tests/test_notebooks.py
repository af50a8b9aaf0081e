"""Every notebook runs from its first cell to its last, and what it is there to show is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NAMES = tuple(path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb")))

# What a reader of the notebook must find in its output.
SHOWN = {
    "01_quickstart.ipynb": (
        "likely due to a bug in the learning-rate schedule",
        "at step 100",
        "learning rate jumped",
        "training was stopped after",
    ),
    "02_event_graph.ipynb": (
        "likely due to a bug in the learning-rate schedule",
        "acyclic: True",
        "True True",
    ),
    "03_investigation.ipynb": (
        "likely due to an operation at a point where it or its derivative is infinite",
        "originated in layer 'rows' at step 73",
        "the run looks healthy",
    ),
    "04_add_a_mechanism.ipynb": (
        "likely due to inputs that were scaled down twice",
        "the run looks healthy",
        "likely due to learning rate too low",
        "calibrated: False",
    ),
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every notebook, run now by the command that `make notebooks` runs."""
    folder = tmp_path_factory.mktemp("notebooks")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.notebooks", "--into", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: nbformat.read(folder / name, as_version=4) for name in NAMES}


def committed(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> str:
    return "\n".join(
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    )


def shown(notebook: Any) -> list[dict[str, str]]:
    """What the cells display: one bundle of media types per output."""
    return [
        output.data
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type in {"display_data", "execute_result"}
    ]


def test_all_notebooks_are_known_to_these_tests() -> None:
    assert set(SHOWN) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_shows_what_it_is_there_for(name: str, executed: dict[str, Any]) -> None:
    text = printed(executed[name])
    assert [phrase for phrase in SHOWN[name] if phrase not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_writes_no_warning(name: str, executed: dict[str, Any]) -> None:
    streams = [o for cell in code_cells(executed[name]) for o in cell.outputs]
    assert [o.text for o in streams if o.get("name") == "stderr"] == []


@pytest.mark.parametrize("name", NAMES)
def test_is_committed_with_the_outputs_of_a_run_from_the_top(name: str) -> None:
    counts = [cell.execution_count for cell in code_cells(committed(name))]
    assert counts == list(range(1, len(counts) + 1))
    assert [phrase for phrase in SHOWN[name] if phrase not in printed(committed(name))] == []


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_need_no_script_and_name_no_machine(name: str) -> None:
    text = (ROOT / "notebooks" / name).read_text(encoding="utf-8")
    assert "<script" not in text
    assert str(Path.home()) + "/" not in text
    assert "site-packages" not in text


@pytest.mark.parametrize("name", NAMES[:3])
def test_has_a_static_picture(name: str) -> None:
    pictures = [data["image/svg+xml"] for data in shown(committed(name)) if "image/svg+xml" in data]
    assert pictures
    assert all(picture.lstrip().startswith("<svg") for picture in pictures)


def test_the_quickstart_shows_a_diagnosis_as_text_html_and_picture() -> None:
    kinds = {"text/plain", "text/html", "image/png"}
    assert any(data.keys() == kinds for data in shown(committed("01_quickstart.ipynb")))


def test_the_fault_added_by_hand_is_not_known_before() -> None:
    cell = code_cells(committed("04_add_a_mechanism.ipynb"))[0]
    before = "".join(o.text for o in cell.outputs)
    assert "0." in before
    assert "inputs_scaled_twice" not in before
