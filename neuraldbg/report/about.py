"""What the catalogue knows about a mechanism, as part of a page: a reader may have nothing but the file."""

from __future__ import annotations

from collections.abc import Collection
from html import escape

from neuraldbg.catalogue.page import page_of, refutations
from neuraldbg.records.catalogue import Catalogue, Effect, Mechanism

__all__ = ["about_html"]

LISTED = 8


def about_html(slug: str, catalogue: Catalogue, seen: Collection[str]) -> str:
    """Return story, expected evidence, look-alikes and source of a mechanism, folded away.

    Parameters
    ----------
    slug
        Of a mechanism; one that no record describes gets only the place to read on.
    catalogue
        That of the diagnosis, with the user's own records.
    seen
        Names of the events of this run: expected evidence is marked with whether it is there.
    """
    ways = [m for m in catalogue.mechanisms if m.slug == slug]
    body = (_told(ways, catalogue, seen) if ways else "") + _read_on(slug)
    if not body:
        return ""
    return (
        f'<details class="about"><summary>about {escape(slug)}</summary><div>{body}</div></details>'
    )


def _told(ways: list[Mechanism], catalogue: Catalogue, seen: Collection[str]) -> str:
    first = ways[0]
    parts = [f"<p>{escape(first.story)}</p>"]
    if expected := _strongest(ways):
        rows = "".join(_row(e, catalogue, seen) for e in expected)
        parts.append(
            '<table><thead><tr><th scope="col">expected evidence</th><th scope="col">how probable</th>'
            f'<th scope="col">in this run</th></tr></thead><tbody>{rows}</tbody></table>'
        )
    if refuting := refutations(ways):
        told = "; ".join(catalogue.detector(name).meaning for name in refuting)
        parts.append(f"<p><b>Spoken against by</b> {escape(told)}.</p>")
    if first.look_alikes:
        parts.append(f"<p><b>Mistaken for</b> {escape(', '.join(first.look_alikes))}.</p>")
    return "".join([*parts, f"<p><b>Source</b> {escape(first.source)}.</p>"])


def _strongest(ways: list[Mechanism]) -> list[Effect]:
    """Return the effects of all ways, each once with its strongest link, the most probable first."""
    best: dict[str, Effect] = {}
    for effect in (e for m in ways for e in m.effects):
        if effect.event not in best or effect.link > best[effect.event].link:
            best[effect.event] = effect
    return sorted(best.values(), key=lambda e: (-e.link, e.event))[:LISTED]


def _row(effect: Effect, catalogue: Catalogue, seen: Collection[str]) -> str:
    there = "seen" if effect.event in seen else "not seen"
    meaning = escape(catalogue.detector(effect.event).meaning)
    return f"<tr><td>{meaning}</td><td>{effect.link:.2f}</td><td>{there}</td></tr>"


def _read_on(slug: str) -> str:
    place = page_of(slug)
    return f"<p><b>Read on</b> {escape(place)}</p>" if place else ""
