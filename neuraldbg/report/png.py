"""A picture as PNG where a renderer is installed: for places that strip SVG, such as some code hosts."""

from __future__ import annotations

import base64
from importlib import import_module

__all__ = ["to_png"]

RENDERER = "resvg_py"


def to_png(svg: str) -> str | None:
    """Return the PNG of a picture in base64, as notebooks want it; None where ``resvg-py`` is not installed."""
    try:
        renderer = import_module(RENDERER)
    except ImportError:
        return None
    image: bytes = renderer.svg_to_bytes(svg_string=svg, background="#ffffff", width=1400)
    return base64.b64encode(bytes(image)).decode()
