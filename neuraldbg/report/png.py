"""A picture as PNG where a renderer is installed: for places that strip SVG, such as some code hosts."""

from __future__ import annotations

import base64
from importlib import import_module

__all__ = ["to_png"]

RENDERER = "resvg_py"
# Pixels; twice as many as a column of text on most pages, for sharp letters.
WIDTH = 1400


def to_png(svg: str) -> str | None:
    """Return the PNG of a picture in base64, as notebooks want it.

    None where ``resvg-py`` is not installed, or cannot draw the picture: text and HTML are there without it.
    """
    try:
        renderer = import_module(RENDERER)
        image = renderer.svg_to_bytes(svg_string=svg, background="#ffffff", width=WIDTH)
    except (ImportError, ValueError):
        return None
    return base64.b64encode(bytes(image)).decode()
