"""An environment for the peers, apart from ours: pinned, and ignored by git.

``python -m benchmarks.peers.environment`` builds it; a second call finds it and does nothing. The package of
the index that is called like ours goes to a folder that is on no path: its adapter loads it under another name.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["HOME", "NAMESAKE", "PINNED", "build"]

HOME = Path(__file__).parents[2] / "build" / "peers"
NAMESAKE = HOME / "namesake"
PINNED = (
    "torch==2.13.0",
    "scikit-learn>=1.5",
    "psutil>=5.9",
    "torchmortem==0.1.1",
    "training-doctor==0.1.0",
    "pytscope==0.2.1",
    "traintools==0.6.2",
)
PINNED_NAMESAKE = "neuraldbg==1.3.2"


def build() -> Path:
    """Return the interpreter of the environment, building it when it is missing or of other versions."""
    python = HOME / "bin" / "python"
    stamp = HOME / "pinned.txt"
    wanted = "\n".join((*PINNED, PINNED_NAMESAKE))
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(HOME, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *PINNED], check=True)
    subprocess.run(
        [*install, "--no-deps", "--upgrade", "--target", str(NAMESAKE), PINNED_NAMESAKE], check=True
    )
    stamp.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
