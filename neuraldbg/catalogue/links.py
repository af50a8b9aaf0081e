"""Writing effects down briefly: event name to noisy-OR link."""

from __future__ import annotations

from dataclasses import replace

from neuraldbg.records.catalogue import Effect, Mechanism

__all__ = ["effects", "variants"]


def effects(local: dict[str, float] | None = None, /, **links: float) -> tuple[Effect, ...]:
    """Return effects from ``event=link``; those of ``local`` are expected at the mechanism's own layer."""
    here = tuple(Effect(event=e, link=p, local=True) for e, p in (local or {}).items())
    return here + tuple(Effect(event=e, link=p) for e, p in links.items())


Way = (
    tuple[float, tuple[Effect, ...]]
    | tuple[float, tuple[Effect, ...], tuple[str, ...]]
    | tuple[float, tuple[Effect, ...], tuple[str, ...], str]
)


def variants(base: Mechanism, **ways: Way) -> tuple[Mechanism, ...]:
    """Return one mechanism per way in which ``base`` comes about.

    Parameters
    ----------
    base
        What the ways share: words, prior of all ways together, common effects.
    ways
        ``name=(share of the prior, effects of its own)``, and flags that it requires and a remedy of its own, if there
        are any. A common effect that a way spells anew is its own.
    """
    return tuple(
        replace(
            base,
            variant=name,
            prior=base.prior * share,
            effects=(*own, *_besides(base.effects, own)),
            requires=(*base.requires, *(more[0] if more else ())),
            remedy=str(more[1]) if len(more) > 1 else base.remedy,
        )
        for name, (share, own, *more) in ways.items()
    )


def _besides(common: tuple[Effect, ...], own: tuple[Effect, ...]) -> tuple[Effect, ...]:
    spelled = {effect.event for effect in own}
    return tuple(effect for effect in common if effect.event not in spelled)
