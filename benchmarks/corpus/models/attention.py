"""Transformers: an own pre-norm language model and classifiers from PyTorch's layers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.corpus.models.blocks import activation
from benchmarks.corpus.program import Sites

__all__ = ["EncoderClassifier", "LanguageModel", "OwnPostNorm"]


class CausalSelfAttention(nn.Module):
    """Causal attention: separate projections, or one fused projection for all three."""

    def __init__(
        self, width: int, heads: int, fused: bool, sdpa: bool, sharpness: float, causal: bool
    ) -> None:
        super().__init__()
        self.heads, self.fused, self.sdpa, self.causal = heads, fused, sdpa, causal
        if fused:
            self.c_attn = nn.Linear(width, 3 * width)
        else:
            self.q_proj = nn.Linear(width, width)
            self.k_proj = nn.Linear(width, width)
            self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.scale = sharpness / math.sqrt(width // heads)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            parts = self.c_attn(x).chunk(3, dim=-1)
        else:
            parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        if self.sdpa:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        else:
            scores = q @ k.transpose(-2, -1) * self.scale
            if self.causal:
                hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(hidden, float("-inf"))
            y = scores.softmax(-1) @ v
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, act: str, drop: float, attn: CausalSelfAttention) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = attn
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), activation(act), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.drop(self.mlp(self.ln_2(x)))


class LanguageModel(nn.Module):
    """A small decoder-only language model."""

    def __init__(
        self,
        vocabulary: int,
        length: int = 24,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        act: str = "gelu",
        drop: float = 0.0,
        fused: bool = False,
        sdpa: bool = False,
        tied: bool = False,
        sharpness: float = 1.0,
        causal: bool = True,
        places: bool = True,
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Parameter(0.02 * torch.randn(length, width) * float(places))
        self.h = nn.ModuleList(
            Block(
                width, act, drop, CausalSelfAttention(width, heads, fused, sdpa, sharpness, causal)
            )
            for _ in range(depth)
        )
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            nn.init.normal_(self.wte.weight, std=0.15)
            self.lm_head.weight = self.wte.weight
        self.wpe.requires_grad_(places)
        qk = ["c_attn.weight"] if fused else ["q_proj.weight", "k_proj.weight"]
        mats = ["attn.c_attn"] if fused else ["attn.q_proj", "attn.k_proj", "attn.v_proj"]
        mats += ["attn.out_proj", "mlp.0", "mlp.2"]
        self.sites = Sites(
            hidden=[f"h.{i}.mlp.0" for i in range(depth)],
            act=act,
            body=[f"h.{i}.{m}" for i in range(depth) for m in mats],
            head="lm_head",
            norms=[n for n, m in self.named_modules() if isinstance(m, nn.LayerNorm)],
            drops=[n for n, m in self.named_modules() if isinstance(m, nn.Dropout)],
            embeddings=["wte"],
            attention={f"h.{i}.attn": [f"h.{i}.attn.{p}" for p in qk] for i in range(depth)},
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe[: ids.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class EncoderClassifier(nn.Module):
    """``nn.TransformerEncoder`` (post-norm unless told otherwise) over vectors or words."""

    def __init__(
        self,
        outputs: int,
        length: int,
        inputs: int = 0,
        vocabulary: int = 0,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        act: str = "relu",
        drop: float = 0.0,
        first: bool = False,
        places: bool = True,
    ) -> None:
        super().__init__()
        self.words = vocabulary > 0
        if self.words:
            self.embed: nn.Module = nn.Embedding(vocabulary, width, padding_idx=0)
        else:
            self.embed = nn.Linear(inputs, width)
        self.pos = nn.Parameter(0.02 * torch.randn(length, width) * float(places))
        self.pos.requires_grad_(places)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, drop, activation=act, batch_first=True, norm_first=first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.fc = nn.Linear(width, outputs)
        layers = [f"encoder.layers.{i}" for i in range(depth)]
        mats = ("self_attn.out_proj", "linear1", "linear2")
        self.sites = Sites(
            hidden=[f"{p}.linear1" for p in layers],
            act=act,
            body=[f"{p}.{m}" for p in layers for m in mats],
            head="fc",
            norms=[n for n, m in self.named_modules() if isinstance(m, nn.LayerNorm)],
            drops=[n for n, m in self.named_modules() if isinstance(m, nn.Dropout) and drop],
            embeddings=["embed"] if self.words else [],
            attention={f"{p}.self_attn": [f"{p}.self_attn.in_proj_weight"] for p in layers},
        )

    def forward(self, x: Tensor) -> Tensor:
        padding = x == 0 if self.words else None
        h = self.embed(x) + self.pos[: x.shape[1]]
        h = self.encoder(h, src_key_padding_mask=padding)
        if padding is None:
            return self.fc(h.mean(1))
        kept = (~padding).unsqueeze(-1).to(h.dtype)
        return self.fc((h * kept).sum(1) / kept.sum(1).clamp(min=1))


class _PostNormBlock(nn.Module):
    def __init__(self, width: int, heads: int, act: str, drop: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.0, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.norm2 = nn.LayerNorm(width)
        self.act = activation(act)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.attention(x, x, x, need_weights=False)
        x = self.norm1(x + self.dropout(attended))
        return self.norm2(x + self.dropout(self.fc2(self.act(self.fc1(x)))))


class OwnPostNorm(nn.Module):
    """A classifier of own post-norm blocks around ``nn.MultiheadAttention``, with a class token."""

    def __init__(
        self,
        outputs: int,
        length: int,
        inputs: int,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        act: str = "gelu",
        drop: float = 0.0,
        places: bool = True,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(inputs, width)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(length + 1, width) * float(places))
        self.pos_embed.requires_grad_(places)
        self.blocks = nn.Sequential(
            *(_PostNormBlock(width, heads, act, drop) for _ in range(depth))
        )
        self.head = nn.Linear(width, outputs)
        blocks = [f"blocks.{i}" for i in range(depth)]
        mats = ("attention.out_proj", "fc1", "fc2")
        self.sites = Sites(
            hidden=[f"{b}.fc1" for b in blocks],
            act=act,
            body=["patch_embed", *(f"{b}.{m}" for b in blocks for m in mats)],
            head="head",
            norms=[f"{b}.norm{i}" for b in blocks for i in (1, 2)],
            drops=[n for n, m in self.named_modules() if isinstance(m, nn.Dropout)],
            attention={f"{b}.attention": [f"{b}.attention.in_proj_weight"] for b in blocks},
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = self.blocks(x + self.pos_embed[: x.shape[1]])
        return self.head(x[:, 0])
