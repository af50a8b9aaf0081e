"""Tables of what the cached runs did: which faults hurt, which twins learned, how long runs took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.corpus.plan import plan
from benchmarks.corpus.store import CACHE, Store
from benchmarks.corpus.table import Label, load_labels

__all__ = ["survey"]


def survey(families: Sequence[str] = (), cache: Path = CACHE) -> str:
    """Return the tables as text."""
    labels = [row for row in load_labels(cache) if not families or row["family"] in families]
    store = Store(cache)
    seconds = [store.read(row["id"])["seconds"] for row in labels]
    parts = [
        f"{len(labels)} runs, {sum(seconds) / max(len(seconds), 1):.2f} s each on average",
        _hurting(labels),
        _healthy(labels),
        feasibility(families),
    ]
    return "\n\n".join(parts)


def _rate(rows: Sequence[Label]) -> str:
    judged = [r for r in rows if r["verdict"] != "no_twin"]
    hurts = sum(r["verdict"] == "hurts" for r in judged)
    harmless = sum(r["verdict"] == "harmless" for r in judged)
    return f"{hurts:4d} of {len(judged):4d} hurt, {harmless:3d} harmless"


def _hurting(labels: Iterable[Label]) -> str:
    groups: dict[str, list[Label]] = defaultdict(list)
    for row in labels:
        if row["kind"] in {"fault", "unknown"}:
            groups[row["injected"][0]["mechanism"]].append(row)
            groups[
                f"  .{row['injected'][0]['variant']} ({row['injected'][0]['mechanism']})"
            ].append(row)
        elif row["kind"] in {"pair", "mild"}:
            groups[f"[{row['kind']}]"].append(row)
        if row["kind"] in {"fault", "unknown"}:
            groups["[all faults]"].append(row)
    order = sorted(groups, key=lambda g: (g.split("(")[-1].rstrip(")"), g.startswith("  "), g))
    return "\n".join(f"{name:60s} {_rate(groups[name])}" for name in order)


def _healthy(labels: Iterable[Label]) -> str:
    groups: dict[str, list[Label]] = defaultdict(list)
    for row in labels:
        if row["kind"] in {"plain", "twin", "odd"}:
            groups[f"{row['family']} {row['kind']}"].append(row)
    return "\n".join(
        f"{name:32s} {sum(r['learned'] for r in rows):3d} of {len(rows):3d} learn"
        for name, rows in sorted(groups.items())
    )


def feasibility(families: Sequence[str] = ()) -> str:
    """Return a table families x mechanisms of how many cases the plan holds."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    mechanisms: dict[str, None] = {}
    names: dict[str, None] = {}
    for case in plan(families):
        names[case.family] = None
        if case.kind in {"fault", "unknown"}:
            mechanism = case.injected[0]["mechanism"]
            mechanisms[mechanism] = None
            counts[case.family, mechanism] += 1
    columns = list(names)
    head = " " * 34 + " ".join(f"{name[:6]:>6s}" for name in columns)
    rows = [f"{m:34s}" + " ".join(f"{counts[f, m] or '.':>6}" for f in columns) for m in mechanisms]
    return "\n".join([head, *rows])
