"""Say a result on stdout or stderr: colour only for a person's terminal, JSON without surprises."""

from __future__ import annotations

import json
import os
import re
import sys
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, TextIO

from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.report import SCHEMA_VERSION, plain_values, to_json, to_text

__all__ = ["EXIT_FAILURE", "say", "say_diagnosis", "say_json", "status"]

EXIT_FAILURE = 1
BOLD, DIM, RED, GREEN, CYAN, RESET = (f"\033[{n}m" for n in (1, 2, 31, 32, 36, 0))
_TITLE = re.compile(r"^(    )([a-z][a-z ]{2,10}?)( {2,})(?=\S)")
NARROWEST = 60
_BAR = re.compile(r"█+")


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a text and a line break; where a person looks, in colour and within the width of the terminal.

    Names of layers come from a file: what would steer a terminal is shown and not obeyed.
    """
    stream = stream or sys.stdout
    text = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    if stream.isatty():
        width = max(get_terminal_size().columns, NARROWEST)
        text = "\n".join(_wrapped(line, width) for line in text.split("\n"))
    stream.write((_painted(text) if _in_colour(stream) else text) + "\n")


def _wrapped(line: str, width: int) -> str:
    """Break a long line where its text begins again below: after the title of its block, if it has one."""
    if len(line) <= width or "█" in line:
        return line
    title = _TITLE.match(line)
    indent = title.end() if title else len(line) - len(line.lstrip())
    return fill(line, width, subsequent_indent=" " * indent, break_long_words=False)


def say_json(kind: str, body: Any, *, indent: int | None = 1) -> None:
    """Write a result as JSON with its kind and the version of its schema."""
    whole = {"schema_version": SCHEMA_VERSION, "kind": kind, **plain_values(body)}
    sys.stdout.write(json.dumps(whole, allow_nan=False, indent=indent) + "\n")


def say_diagnosis(diagnosis: Diagnosis, *, as_json: bool, stream: TextIO | None = None) -> None:
    """Write a diagnosis as text, or as JSON to stdout."""
    if as_json:
        sys.stdout.write(to_json(diagnosis) + "\n")
    else:
        say(to_text(diagnosis), stream)


def status(diagnosis: Diagnosis, fail_on: float | None) -> int:
    """Return 1 if a failure is at least as probable as asked, else 0."""
    return EXIT_FAILURE if fail_on is not None and 1 - diagnosis.p_healthy >= fail_on else 0


def _in_colour(stream: TextIO) -> bool:
    # https://no-color.org: any value but the empty one switches colour off.
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(text: str) -> str:
    return "\n".join(_painted_line(line) for line in text.split("\n"))


def _painted_line(line: str) -> str:
    if line and not line.startswith(" "):
        return f"{BOLD}{line}{RESET}"
    if "█" in line:
        colour = GREEN if line.split(maxsplit=1)[0] == "healthy" else RED
        return _BAR.sub(lambda found: f"{colour}{found[0]}{RESET}", line)
    return _TITLE.sub(rf"\1{CYAN}\2{RESET}\3", line)
