"""Write the event graph or a table to a file whose suffix chooses the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from neuraldbg.errors import ExportError
from neuraldbg.graph import to_gexf, to_graphml, to_node_link
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.records.recording import Recording
from neuraldbg.report import to_dot, to_mermaid, to_page, to_svg

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "FRAMES", "unknown_format", "write_frame", "write_graph", "write_report"]


def _svg(diagnosis: Diagnosis) -> str:
    chain = diagnosis.explanations[0].chain if diagnosis.explanations else None
    return to_svg(diagnosis.graph, chain)


FORMATS: dict[str, Callable[[Diagnosis], str]] = {
    ".json": lambda d: to_node_link(d.graph),
    ".graphml": lambda d: to_graphml(d.graph),
    ".gexf": lambda d: to_gexf(d.graph),
    ".dot": lambda d: to_dot(d.graph),
    ".gv": lambda d: to_dot(d.graph),
    ".mmd": lambda d: to_mermaid(d.graph),
    ".svg": _svg,
}


def write_graph(diagnosis: Diagnosis, path: Path) -> Path:
    """Write the event graph and return the path.

    Raises
    ------
    ExportError
        If no format belongs to the suffix, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    writer = FORMATS.get(suffix)
    if writer is None:
        raise unknown_format(suffix, "graph", FORMATS)
    text = writer(diagnosis)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from error
    return path


FRAMES: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table and return the path.

    Raises
    ------
    ExportError
        If no format belongs to the suffix, what writes it is not installed, or the file cannot be written.
    """
    writer = FRAMES.get(path.suffix.lower())
    if writer is None:
        raise unknown_format(path.suffix.lower(), "table", FRAMES)
    try:
        writer(frame.reset_index() if frame.index.name else frame, path)
    except ImportError as error:
        msg = f"{path.suffix} files need another package: pip install pyarrow."
        raise ExportError(msg) from error
    except OSError as error:
        raise _unwritten(path, error) from error
    return path


def write_report(
    diagnosis: Diagnosis, recording: Recording, catalogue: Catalogue, path: Path
) -> Path:
    """Write the HTML report and return the path.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    try:
        path.write_text(to_page(diagnosis, recording, catalogue), encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from error
    return path


def _unwritten(path: Path, error: OSError) -> ExportError:
    # pandas raises one without a code for a folder that is not there.
    return ExportError(f"cannot write {str(path)!r}: {error.strerror or error}.")


def unknown_format(suffix: str, noun: str, known: Iterable[str]) -> ExportError:
    """Return the error that names the formats there are."""
    known = list(known)
    near = get_close_matches(suffix, known, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ExportError(
        f"no {noun} format has the suffix {suffix!r}.{hint} Known: {', '.join(known)}."
    )
