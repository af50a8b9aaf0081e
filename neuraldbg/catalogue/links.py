"""Writing effects down briefly: event name to noisy-OR link."""

from __future__ import annotations

from neuraldbg.records.catalogue import Effect

__all__ = ["effects"]


def effects(local: dict[str, float] | None = None, /, **links: float) -> tuple[Effect, ...]:
    """Return effects from ``event=link``; those of ``local`` are expected at the mechanism's own layer."""
    here = tuple(Effect(event=e, link=p, local=True) for e, p in (local or {}).items())
    return here + tuple(Effect(event=e, link=p) for e, p in links.items())
