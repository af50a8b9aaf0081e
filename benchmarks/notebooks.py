"""Execute the notebooks and keep their outputs: ``python -m benchmarks.notebooks [NAME …]``.

The ``.ipynb`` files are their own source. They run in a kernel of this interpreter, in reading order; what changes
from run to run without meaning anything (times, run counts of other sessions) is left out, so that a diff shows
what changed. ``--into DIR`` writes the executed copies elsewhere and leaves the committed ones alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
TIMEOUT_S = 300
# What a notebook may say of the machine that it ran on.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Execute and write; return an exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="file names; all if none is given")
    parser.add_argument("--into", type=Path, default=NOTEBOOKS, metavar="DIR")
    options = parser.parse_args(argv)
    for name in options.names or [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]:
        sys.stderr.write(f"{name} …\n")
        executed = execute(NOTEBOOKS / name)
        nbformat.write(executed, options.into / name)
    return 0


def execute(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with fresh outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    # The kernel is a process of its own: it finds this checkout even where the package is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    )
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        # One print may come in several messages on a busy machine.
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
    )
    return _tidy(client.execute())


def _tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({})
    nbformat.validate(notebook)
    return notebook


if __name__ == "__main__":
    sys.exit(main())
