"""Report stage: a diagnosis in, text, HTML, SVG, JSON and frames out; pandas is used only here."""

from neuraldbg.report.frame import events_frame, hypotheses_frame, layers_frame, steps_frame
from neuraldbg.report.html import (
    chain_html,
    diagnosis_html,
    graph_html,
    graph_mimebundle,
    mimebundle,
)
from neuraldbg.report.json import SCHEMA_VERSION, json_schema, plain_values, schema_of, to_json
from neuraldbg.report.mermaid import to_dot, to_mermaid
from neuraldbg.report.page import to_page
from neuraldbg.report.svg import to_svg
from neuraldbg.report.text import to_text

__all__ = [
    "SCHEMA_VERSION",
    "chain_html",
    "diagnosis_html",
    "events_frame",
    "graph_html",
    "graph_mimebundle",
    "hypotheses_frame",
    "json_schema",
    "layers_frame",
    "mimebundle",
    "plain_values",
    "schema_of",
    "steps_frame",
    "to_dot",
    "to_json",
    "to_mermaid",
    "to_page",
    "to_svg",
    "to_text",
]
