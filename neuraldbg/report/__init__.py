"""Report stage: a diagnosis in, text, HTML, SVG, JSON and frames out; pandas is used only here."""

from neuraldbg.report.frame import events_frame, hypotheses_frame
from neuraldbg.report.html import chain_html, diagnosis_html, graph_html, mimebundle
from neuraldbg.report.json import to_json
from neuraldbg.report.mermaid import to_dot, to_mermaid
from neuraldbg.report.svg import to_svg
from neuraldbg.report.text import to_text

__all__ = [
    "chain_html",
    "diagnosis_html",
    "events_frame",
    "graph_html",
    "hypotheses_frame",
    "mimebundle",
    "to_dot",
    "to_json",
    "to_mermaid",
    "to_svg",
    "to_text",
]
