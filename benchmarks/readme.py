"""Fill README.md and PLAN.md with what was measured: tables from committed results, the output of the example.

Text between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` is generated. ``NAME`` is ``output`` for what the
first Python block of the README prints, or ``FILE`` for the tables of ``benchmarks/results/FILE.json``: those
marked for the README, or all of them with ``FILE all``. A result that is not there leaves its place empty.

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
PAGES = (ROOT / "README.md", ROOT / "PLAN.md")
PICTURE = RESULTS / "event_graph.svg"
MARKED = re.compile(
    r"(<!-- begin: (?P<name>[^>]+?) -->\n)(?P<body>.*?)(<!-- end: (?P=name) -->)", re.DOTALL
)
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```", re.DOTALL)
Table = Mapping[str, Any]


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
    PICTURE.write_text(card(dbg.diagnose(), chain, dbg.recording.topology), encoding="utf-8")
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


def _tables_of(name: str) -> str:
    stem, _, scope = name.partition(" ")
    path = RESULTS / f"{stem}.json"
    if not path.exists():
        return ""
    tables = tables_in(json.loads(path.read_text(encoding="utf-8")))
    if scope != "all":
        tables = [t for t in tables if t.get("readme", True)]
    return "\n".join(map(rendered, tables))


# -- tables -------------------------------------------------------------------------------------


def tables_in(result: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a result: its own, or those that its programs and facts make."""
    if "tables" in result:
        return [t for t in result["tables"] if t.get("rows")]
    programs = result.get("programs")
    if not programs:
        return []
    return [_programs(programs), *_facts(result)]


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
