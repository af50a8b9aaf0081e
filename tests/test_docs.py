"""The pages say what is true: commands exist, the example runs, what is generated is fresh, the root is tidy."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import logic_graph, readme
from neuraldbg.catalogue import DEFAULT
from neuraldbg.cli.main import parser
from neuraldbg.demos import CASES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "PLAN.md", "CHANGELOG.md", "logic_graph.md", "benchmarks/ROUNDS.md")

# The words of the MIT licence as the Open Source Initiative publishes them, without title and holder.
MIT = """
permission is hereby granted free of charge to any person obtaining a copy of this software and associated
documentation files the software to deal in the software without restriction including without limitation the
rights to use copy modify merge publish distribute sublicense and or sell copies of the software and to permit
persons to whom the software is furnished to do so subject to the following conditions
the above copyright notice and this permission notice shall be included in all copies or substantial portions of
the software
the software is provided as is without warranty of any kind express or implied including but not limited to the
warranties of merchantability fitness for a particular purpose and noninfringement in no event shall the authors or
copyright holders be liable for any claim damages or other liability whether in an action of contract tort or
otherwise arising from out of or in connection with the software or the use or other dealings in the software
"""
AGREED = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE.md",
    "Makefile",
    "PLAN.md",
    "README.md",
    "benchmarks",
    "constraints.txt",
    "logic_graph.md",
    "neuraldbg",
    "notebooks",
    "pyproject.toml",
    "tests",
}


def console_lines(text: str) -> list[str]:
    """What a reader is told to type: the lines after ``$`` in console blocks, without their comment."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines]


COMMANDS = [
    line
    for page in ("README.md", "PLAN.md")
    for line in console_lines((ROOT / page).read_text(encoding="utf-8"))
]


def make_words() -> set[str]:
    return set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


# -- commands -----------------------------------------------------------------------------------


def test_readme_names_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("neuraldbg ")])
def test_command_line_of_the_readme_is_understood(command: str) -> None:
    parsed = parser().parse_args(shlex.split(command)[1:])
    assert callable(parsed.command)


@pytest.mark.parametrize("name", re.findall(r"neuraldbg demo ([a-z][a-z-]+)", README))
def test_demo_of_the_readme_exists(name: str) -> None:
    assert name in {case.id for case in CASES}


@pytest.mark.parametrize("page", PAGES)
def test_every_make_word_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:\$ |`)make ([a-z]+)", text))
    assert named - make_words() == set()


def test_readme_lists_every_make_word() -> None:
    listed = re.search(r"`make` words: (.*?)\.", README, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`([a-z]+)`", listed[1])) == make_words() - {"help"}


@pytest.mark.parametrize("page", PAGES)
def test_every_module_to_run_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    missing = [m for m in modules if not _module(m).exists()]
    assert missing == []


def _module(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


# -- the example --------------------------------------------------------------------------------


def masked(text: str) -> str:
    """Numbers differ in the last digit between machines; what is said must not."""
    return re.sub(r"\d+(?:\.\d+)?", "#", text)


def test_example_of_the_readme_runs_and_prints_what_the_readme_shows() -> None:
    shown = re.search(r"<!-- begin: output -->\n```text\n(.*?)\n```", README, re.DOTALL)
    assert shown is not None
    _, printed = readme.run_example(README)
    assert masked(printed.strip()) == masked(shown[1])


def test_example_names_the_step_at_which_the_fault_was_planted() -> None:
    planted = re.search(r"step_size=(\d+)", README)
    assert planted is not None
    assert f"at step {planted[1]}," in README


# -- what is generated --------------------------------------------------------------------------


def test_logic_graph_is_fresh() -> None:
    assert logic_graph.page(DEFAULT) == (ROOT / "logic_graph.md").read_text(encoding="utf-8"), (
        "stale: run `make docs`"
    )


@pytest.mark.parametrize("page", ["README.md", "PLAN.md", "benchmarks/ROUNDS.md"])
def test_tables_are_those_of_the_committed_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert readme.with_tables(text) == text, "stale: run `make docs`"


def test_a_result_that_is_not_there_leaves_its_place_empty() -> None:
    text = "a\n<!-- begin: never_measured -->\n**invented** 0.99\n<!-- end: never_measured -->\nb\n"
    emptied = "a\n<!-- begin: never_measured -->\n<!-- end: never_measured -->\nb\n"
    assert readme.with_tables(text) == emptied


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(["a", 0.5, None], "| a | 0.500 | – |", id="a list, and what was not measured"),
        pytest.param({"case": "a", "first": True, "n": 12}, "| a | yes | 12 |", id="a mapping"),
        pytest.param(
            ["x|y", float("nan"), 12345.6], "| x\\|y | – | 1.235e+04 |", id="a bar, a NaN"
        ),
    ],
)
def test_rows_become_markdown(row: object, expected: str) -> None:
    table = {"title": "T", "columns": ["case", "first", "n"], "rows": [row]}
    assert readme.rendered(table).splitlines()[-1] == expected


def test_long_tables_stay_out_of_the_readme_unless_they_ask() -> None:
    rows = [[i] for i in range(readme.SHORT + 1)]
    assert not readme.belongs({"title": "T", "columns": ["n"], "rows": rows})
    assert readme.belongs({"title": "T", "columns": ["n"], "rows": rows, "readme": True})


def test_summary_leaves_out_a_figure_that_nothing_measured() -> None:
    figures = {"top1": 0.5, "ece": float("nan"), "faulty": 4, "healthy": 2}
    (table,) = readme.summary({"held_out": {"figures": figures}})
    assert table["columns"] == ["runs", "faulty / healthy", "right mechanism first"]
    assert table["rows"] == [["held out", "4 / 2", 0.5]]


def test_every_mechanism_has_its_place_on_the_page() -> None:
    page = logic_graph.page(DEFAULT)
    assert [slug for slug in DEFAULT.slugs() if f"#### {slug}\n" not in page] == []
    assert [d.name for d in DEFAULT.detectors if f"| {d.name} |" not in page] == []


def test_diagrams_have_no_word_that_mermaid_keeps_for_itself() -> None:
    diagrams = re.findall(r"```mermaid\n(.*?)```", logic_graph.page(DEFAULT), re.DOTALL)
    assert len(diagrams) == 1 + len(logic_graph.FAMILIES)
    kept = {"graph", "end", "subgraph", "style", "class", "click", "default"}
    words = {
        line.split("[")[0].split("(")[0].split()[0]
        for d in diagrams
        for line in d.splitlines()
        if line
    }
    assert words & kept == set()


# -- links, licence, root -----------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Anchors that a code host gives to headings: lower case, blanks to dashes, punctuation gone; and our own."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    given = {re.sub(r"[^\w\- ]", "", t.strip().lower()).replace(" ", "-") for t in titles}
    return given | set(re.findall(r'<a id="([^"]+)"></a>', text))


def links(page: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path or Path(page).name, anchor


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    broken = [
        (path, anchor)
        for path, anchor in links(page)
        if not (folder / path).exists()
        or (anchor and anchor not in anchors((folder / path).read_text(encoding="utf-8")))
    ]
    assert broken == []


def test_no_word_of_the_licence_is_missing() -> None:
    text = (ROOT / "LICENSE.md").read_text(encoding="utf-8").lower()
    words = re.findall(r"[a-z]+", text)
    wanted = re.findall(r"[a-z]+", MIT)
    assert words[-len(wanted) :] == wanted
    assert "copyright (c)" in text


def test_root_holds_only_the_agreed_files() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - AGREED == set()


def test_readme_is_short() -> None:
    # Tables of results are as long as what was measured; what one reads in words is not.
    words = re.sub(r"<!-- begin: (\w+).*?<!-- end: \1 -->", "", README, flags=re.DOTALL)
    assert len(words.splitlines()) <= 170


def test_pictures_are_static_and_named_for_readers_that_do_not_see() -> None:
    text = readme.PICTURE.read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "<script" not in text
    assert "<title>" in text


def test_results_hold_what_they_were_measured_on() -> None:
    missing = [
        path.name
        for path in sorted(readme.RESULTS.glob("*.json"))
        if "torch" not in json.loads(path.read_text(encoding="utf-8")).get("measured_on", {})
    ]
    assert missing == []
