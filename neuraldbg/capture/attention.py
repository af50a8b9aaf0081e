"""How sharp attention is: entropy of a few rows and the largest logit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.reduce import Numbers

__all__ = ["is_attention", "is_of_one", "module_attention", "row_numbers", "scaled_dot_product"]

SAMPLES = 2
POSITIONS = 32


def is_attention(args: Sequence[Any], kw: Mapping[str, Any], out: Any) -> bool:
    """Return whether a call of a softmax, with these arguments and this result, may be that of attention."""
    if not (isinstance(out, Tensor) and isinstance(args[0], Tensor)) or out.dim() < 3:
        return False
    return _axis(args, kw) in (-1, out.dim() - 1)


def is_of_one(
    nonlinearity: str | None, args: Sequence[Any], kw: Mapping[str, Any], out: Any
) -> bool:
    """Return whether a call of a softmax goes over an axis of one entry: it gives one, and no gradient, whatever it is given."""
    if nonlinearity not in {"softmax", "log_softmax"} or not isinstance(out, Tensor):
        return False
    axis = _axis(args, kw)
    return isinstance(axis, int) and -out.dim() <= axis < out.dim() and out.shape[axis] == 1


def _axis(args: Sequence[Any], kw: Mapping[str, Any]) -> Any:
    """Return over which axis a softmax was asked for."""
    return kw.get("dim", args[1] if len(args) > 1 else None)


@torch.no_grad()
def row_numbers(logits: Tensor, mask: Tensor | None = None) -> Numbers:
    """Return entropy (over the log of visible keys) and largest logit of attention rows.

    Parameters
    ----------
    logits
        Shape ``(..., queries, keys)``; masked keys are minus infinity, or named by ``mask``.
    mask
        True where a key is visible; broadcastable to ``logits``.
    """
    x = logits.detach().float()
    if mask is not None:
        x = x.masked_fill(~mask, -torch.inf)
    visible = torch.isfinite(x).sum(dim=-1)
    log_p = x.log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p.clamp_min(-80.0)).sum(dim=-1)
    share = entropy / visible.clamp_min(2).float().log()
    share = torch.where(visible >= 2, share, torch.nan).nan_to_num(nan=1.0)
    heads = share.mean(dim=-1)
    return [
        ("attn_entropy_min", heads.min()),
        ("attn_entropy_median", heads.median()),
        ("attn_logit_max", torch.where(torch.isfinite(x), x, -torch.inf).amax()),
    ]


@torch.no_grad()
def scaled_dot_product(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float | None,
) -> Numbers:
    """Return attention numbers of ``F.scaled_dot_product_attention`` on a few samples and queries."""
    q, k = query.detach()[:SAMPLES].float(), key.detach()[:SAMPLES].float()
    q = q[..., -POSITIONS:, :]
    factor = scale if scale is not None else 1.0 / math.sqrt(q.shape[-1])
    logits = q @ k.transpose(-1, -2) * factor
    if causal:
        logits = logits + _causal(q.shape[-2], k.shape[-2], logits)
    elif mask is not None and mask.shape[-2] >= q.shape[-2]:
        part = mask[:SAMPLES] if mask.dim() == logits.dim() and mask.shape[0] > 1 else mask
        part = part[..., -q.shape[-2] :, :]
        logits = (
            logits.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else logits + part
        )
    return row_numbers(logits)


def _causal(queries: int, keys: int, like: Tensor) -> Tensor:
    # The last `queries` rows of a square causal mask.
    row = torch.arange(keys - queries, keys, device=like.device)[:, None]
    column = torch.arange(keys, device=like.device)[None, :]
    return torch.zeros(queries, keys, device=like.device).masked_fill(column > row, -torch.inf)


@torch.no_grad()
def module_attention(module: nn.MultiheadAttention, query: Tensor, key: Tensor) -> Numbers:
    """Return attention numbers of ``nn.MultiheadAttention`` from its projections; masks are not seen."""
    if not module.batch_first and query.dim() == 3:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    if query.dim() == 2:
        query, key = query[None], key[None]
    q, k = (
        query.detach()[:SAMPLES, -POSITIONS:].float(),
        key.detach()[:SAMPLES, :256].float(),
    )
    weights = _projections(module)
    if weights is None:
        return []
    (wq, bq), (wk, bk) = weights
    heads, size = module.num_heads, module.head_dim
    q = nn.functional.linear(q, wq, bq).unflatten(-1, (heads, size)).transpose(1, 2)
    k = nn.functional.linear(k, wk, bk).unflatten(-1, (heads, size)).transpose(1, 2)
    return row_numbers(q @ k.transpose(-1, -2) / math.sqrt(size))


_Projection = tuple[Tensor, Tensor | None]


def _projections(
    module: nn.MultiheadAttention,
) -> tuple[_Projection, _Projection] | None:
    size = module.embed_dim
    bias: Tensor | None = getattr(module, "in_proj_bias", None)
    bq, bk = (None, None) if bias is None else (bias[:size].float(), bias[size : 2 * size].float())
    weight: Tensor | None = getattr(module, "in_proj_weight", None)
    if weight is not None:
        weight = weight.detach().float()
        return (weight[:size], bq), (weight[size : 2 * size], bk)
    q: Tensor | None = getattr(module, "q_proj_weight", None)
    k: Tensor | None = getattr(module, "k_proj_weight", None)
    if q is None or k is None:
        return None
    return (q.detach().float(), bq), (k.detach().float(), bk)
