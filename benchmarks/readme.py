"""Fill the pages with what was measured: tables from committed results, the output of the example.

Text between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` is generated. ``NAME`` is ``output`` for what the
first Python block of the README prints, ``summary`` for one table of the figures of every result, or ``FILE`` for
the tables of ``benchmarks/results/FILE.json``: the short ones, or all of them with ``FILE all``. A table says by
``"readme": true`` or ``false`` where it belongs. A result that is not there leaves its place empty.

``python -m benchmarks.readme`` writes everything, ``--tables`` the tables only; ``--check`` writes nothing and
says whether the tables are stale.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.picture import card

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "PLAN.md", ROOT / "benchmarks" / "ROUNDS.md")
PICTURE = RESULTS / "event_graph.svg"
MARKED = re.compile(
    r"(<!-- begin: (?P<name>[^>]+?) -->\n)(?P<body>.*?)(<!-- end: (?P=name) -->)", re.DOTALL
)
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```", re.DOTALL)
Table = Mapping[str, Any]
# A longer table belongs into PLAN.md, unless it says otherwise.
SHORT = 10
# Figures of a result, in the order of the summary: name in the file, and for people.
FIGURES = {
    "top1": "right mechanism first",
    "top3": "in the first three",
    "layer": "right layer",
    "onset": "onset within 5 %",
    "false_alarms": "healthy runs accused",
    "unknown_blamed": "unknown causes blamed on a known one",
    "ece": "ECE",
    "brier": "Brier",
}
BUILT_ON = (
    "The demo cases were looked at while the engine was built: their row says that it works, not how well it does "
    "on programs that it has never met. Outsiders, newcomers, visitors, travellers, wayfarers, voyagers, explorers, settlers, pilgrims, nomads, wanderers, roamers, rovers, drifters, rangers, keepers, seekers, questers, trekkers, hikers, ramblers, strollers, sojourners and peddlers are twenty-four rounds of programs by authors who did "
    "not know the engine; what they showed was mended after the first sight, most of them are learned from by now, and only that row is "
    "unseen. Peddlers are the last: they are in nothing that was learned or calibrated. Of the held-out folder and the real bugs nothing is learned."
)
COUNTS = ("faulty", "healthy")


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the generated parts and return an exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="only say whether tables are stale")
    parser.add_argument("--tables", action="store_true", help="leave the example as it is")
    options = parser.parse_args(argv)
    stale = False
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = with_tables(text)
        if not options.check and not options.tables and page.name == "README.md":
            fresh = with_output(fresh)
        if fresh != text:
            stale = True
            if not options.check:
                page.write_text(fresh, encoding="utf-8")
    if options.check and stale:
        sys.stderr.write("tables are stale: run `make docs`\n")
    return int(options.check and stale)


def with_tables(text: str) -> str:
    """Return a page with every marked place but the example's filled from the committed results."""
    return MARKED.sub(lambda m: _filled(m, _tables_of), text)


def with_output(text: str) -> str:
    """Return a page with the real output of its example; writes the picture of the same run."""
    namespace, printed = run_example(text)
    dbg = namespace["dbg"]
    chain = dbg.trace_causal_chain("dead_units")
    PICTURE.write_text(card(dbg.diagnose(), chain), encoding="utf-8")
    output = f"```text\n{printed.rstrip()}\n```\n"
    return MARKED.sub(lambda m: _filled(m, lambda _: None, output), text)


def run_example(text: str) -> tuple[dict[str, Any], str]:
    """Run the first Python block of a page; return its names and what it printed."""
    found = EXAMPLE.search(text)
    if found is None:
        msg = "the page has no Python block to run"
        raise ValueError(msg)
    namespace: dict[str, Any] = {"__name__": "example"}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(found["code"], "README.md", "exec"), namespace)  # noqa: S102 - our own page
    return namespace, printed.getvalue()


def _filled(
    place: re.Match[str], tables: Callable[[str], str | None], output: str | None = None
) -> str:
    body = output if place["name"] == "output" else tables(place["name"])
    return place[1] + (place["body"] if body is None else body) + place[4]


def _tables_of(name: str) -> str | None:
    if name == "output":
        return None
    if name == "summary":
        return "".join(map(rendered, summary(results())))
    if name.startswith("peers "):
        return "".join(map(rendered, side_by_side(results(), name.partition(" ")[2])))
    stem, _, scope = name.partition(" ")
    tables = tables_in(results().get(stem, {}))
    if scope != "all":
        tables = [t for t in tables if belongs(t)]
    return "\n".join(map(rendered, tables))


def belongs(table: Table) -> bool:
    """Return whether a table is for the README: it says so, or it is short."""
    return bool(table.get("readme", len(table["rows"]) <= SHORT))


def results() -> dict[str, dict[str, Any]]:
    """Return every committed result by name."""
    return {
        p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob("*.json"))
    }


# -- tables -------------------------------------------------------------------------------------


def tables_in(result: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a result: its own, or those that its programs and facts make."""
    if "tables" in result:
        return [t for t in result["tables"] if t.get("rows")]
    programs = result.get("programs")
    if not programs:
        return []
    return [_programs(programs), *_facts(result)]


def summary(found: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Return one table with a row per result that holds figures, and a column per figure that any of them has."""
    judged = {n: r["figures"] for n, r in found.items() if isinstance(r.get("figures"), Mapping)}
    names = [n for n in FIGURES if any(_measured(f.get(n)) for f in judged.values())]
    if not names:
        return []
    return [
        {
            "title": "How right it is",
            "columns": ["runs", "faulty / healthy", *(FIGURES[n] for n in names)],
            "rows": [
                [
                    found[result].get("title", result.replace("_", " ")),
                    " / ".join(cell(figures.get(count)) for count in COUNTS),
                    *(figures.get(n) for n in names),
                ]
                for result, figures in judged.items()
            ],
            "note": BUILT_ON if "demos" in judged else "",
        }
    ]


def side_by_side(found: Mapping[str, Mapping[str, Any]], cases: str) -> list[Table]:
    """Return one table of other tools, our own rules and the engine on the same cases."""
    others, ours = found.get(f"peers_{cases}"), found.get(f"cases_{cases}", {}).get("figures")
    if others is None or ours is None:
        return []
    rows = [
        [name, told["top1"], told["any"], told["false_alarms"]]
        for name, told in others["summary"].items()
    ]
    return [
        {
            "title": f"Other tools on the same programs ({cases.replace('_', ' ')})",
            "columns": ["tool", "right first", "right among all that it says", "healthy runs accused"],
            "rows": [*rows, ["NeuralDBG (among the first three)", ours["top1"], ours["top3"], ours["false_alarms"]]],
            "note": f"{', '.join(others['peers'])}; namesake is the package of our name on the index, rules a "
            "baseline of thresholds of our own. Scored generously: any wording that could mean the mechanism counts.",
        }
    ]  # fmt: skip


def _measured(value: Any) -> bool:
    return isinstance(value, (int, float)) and not math.isnan(value)


def _programs(programs: list[Mapping[str, Any]]) -> Table:
    """Return overhead per program: the median ratio, its quartiles, and the control without us."""
    first = programs[0]
    plain = [key for key in first if "," not in key]
    rows = [[_ratio(program, key) for key in plain] for program in programs]
    return {
        "title": "Step time with and without watching",
        "columns": [_label(key) for key in plain],
        "rows": rows,
        "note": "Interleaved medians of step time, with over without; in brackets the quartiles and the same "
        "ratio of two runs that are both without (the control).",
    }


def _ratio(program: Mapping[str, Any], key: str) -> Any:
    quartiles, control = program.get(f"{key}, quartiles"), program.get(f"{key}, control")
    if quartiles is None:
        return program.get(key)
    low, high = quartiles
    return f"{program[key]:.2f} ({low:.2f} to {high:.2f}; {control:.2f})"


def _facts(result: Mapping[str, Any]) -> list[Table]:
    rows = [
        [_label(name), cell(value)]
        for group, facts in result.items()
        if group not in {"measured_on", "programs"} and isinstance(facts, Mapping)
        for name, value in facts.items()
    ]
    return [{"title": "Memory, answers and imports", "columns": ["what", "measured"], "rows": rows}]


def _label(key: str) -> str:
    for ending, unit in (("_ms", "ms"), ("_s", "s")):
        if key.endswith(ending):
            return f"{key.removesuffix(ending).replace('_', ' ')}, {unit}"
    return key.replace("_", " ")


def rendered(table: Table) -> str:
    """Return one table as Markdown: a heading, the rows, a note."""
    columns = list(table["columns"])
    rows = [_cells(row, columns) for row in table["rows"]]
    lines = [f"**{table['title']}**", "", _line(columns), "|" + "---|" * len(columns)]
    lines += [_line(row) for row in rows]
    if table.get("note"):
        lines += ["", str(table["note"])]
    return "\n".join([*lines, ""])


def _cells(row: Mapping[str, Any] | Sequence[Any], columns: Sequence[str]) -> list[Any]:
    return [row.get(c) for c in columns] if isinstance(row, Mapping) else list(row)


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(cell, cells)) + " |"


def cell(value: Any) -> str:
    """Return a value as it stands in a table: three digits, a dash for what was not measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
