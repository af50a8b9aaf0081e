"""How one column of many ranks becomes one of the run: knowledge as data."""

from __future__ import annotations

from typing import Literal

__all__ = ["Rule", "Shard", "rule_of", "shard_rule_of"]

Rule = Literal["mean", "largest", "smallest", "extreme"]
Shard = Literal["mean", "root", "rms", "ratio"]

# What one rank alone can spoil for all is kept at its worst; the rest is that of the whole batch, the mean.
RULES: dict[str, Rule] = {
    "input_nonfinite": "largest",
    "residual": "largest",
    "skipped": "largest",
    "nonfinite_share": "largest",
    "act_absmax": "largest",
    "attn_logit_max": "largest",
    # A unit is dead for the run only if no rank has a sample that wakes it.
    "dead_share": "smallest",
    # The batch of one rank off by orders of magnitude would drown in the mean over a thousand.
    "input_std": "extreme",
    "input_absmax": "extreme",
}
# Norms of shards add up in squares; a root mean square weighs shards by their size; a ratio of norms needs
# both of its norms.
SHARDED: dict[str, Shard] = {
    "grad_norm": "root",
    "grad_norm_raw": "root",
    "grad_norm_used": "root",
    "weight_norm": "root",
    "init_gain": "rms",
    "init_bias": "rms",
    "update_ratio": "ratio",
}


def rule_of(name: str) -> Rule:
    """Return how the values of a column are joined where each rank measured its own, or all the same."""
    return RULES.get(name, "mean")


def shard_rule_of(name: str) -> Shard:
    """Return how the values of a column are joined where each rank measured a shard."""
    return SHARDED.get(name, "mean")
