"""Recurrent networks: cells in a loop, fused layers, and an encoder–decoder with attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.corpus.program import Sites

__all__ = ["CellNet", "RecurrentLm", "RecurrentNet", "Seq2Seq"]


class CellNet(nn.Module):
    """A loop over ``nn.RNNCell``, read out at the last step."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 32,
        act: str = "tanh",
        drop: float = 0.0,
        orthogonal: bool = True,
    ) -> None:
        super().__init__()
        self.cell = nn.RNNCell(inputs, width, nonlinearity=act)
        if orthogonal:
            nn.init.orthogonal_(self.cell.weight_hh)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.fc = nn.Linear(width, outputs)
        self.sites = Sites(
            act=act,
            body=["cell"],
            head="fc",
            recurrent=["cell"],
            drops=["dropout"] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.fc(self.dropout(h))


class RecurrentNet(nn.Module):
    """``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` over a sequence of vectors, read out at the last step or the mean."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kind: str = "lstm",
        width: int = 32,
        layers: int = 1,
        drop: float = 0.0,
        both: bool = False,
        pool: str = "last",
        orthogonal: bool = False,
        lift: bool = False,
    ) -> None:
        super().__init__()
        make = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.pool = pool
        self.lift = nn.Linear(inputs, width) if lift else nn.Identity()
        self.rnn = make(
            width if lift else inputs,
            width,
            num_layers=layers,
            batch_first=True,
            bidirectional=both,
        )
        if orthogonal:
            for name, weight in self.rnn.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(weight)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.classifier = nn.Linear(width * (2 if both else 1), outputs)
        self.sites = Sites(
            act="tanh",
            body=["lift", "rnn"] if lift else ["rnn"],
            head="classifier",
            recurrent=["rnn"],
            drops=["dropout"] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(self.lift(x))
        out = out[:, -1] if self.pool == "last" else out.mean(1)
        return self.classifier(self.dropout(out))


class RecurrentLm(nn.Module):
    """A language model: embedding, recurrent layer, projection to the vocabulary."""

    def __init__(
        self,
        vocabulary: int,
        kind: str = "gru",
        width: int = 40,
        layers: int = 1,
        drop: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        make = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = make(width, width, num_layers=layers, batch_first=True)
        self.drop = nn.Dropout(drop) if drop else nn.Identity()
        self.decoder = nn.Linear(width, vocabulary)
        if tied:
            nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
            self.decoder.weight = self.embedding.weight
        self.sites = Sites(
            act="tanh",
            body=["encoder"],
            head="decoder",
            recurrent=["encoder"],
            embeddings=["embedding"],
            drops=["drop"] if drop else [],
        )

    def forward(self, ids: Tensor) -> Tensor:
        out, _ = self.encoder(self.embedding(ids))
        return self.decoder(self.drop(out))


class Seq2Seq(nn.Module):
    """An encoder–decoder with dot-product attention over the source."""

    def __init__(
        self,
        symbols: int,
        width: int = 32,
        kind: str = "gru",
        drop: float = 0.0,
        sharpness: float = 1.0,
        attends: bool = True,
    ) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.src_embed = nn.Embedding(symbols, width)
        self.tgt_embed = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.1 * torch.randn(32, width))
        self.encoder = make(width, width, batch_first=True)
        self.decoder = make(width, width, batch_first=True)
        self.attn_q = nn.Linear(width, width)
        self.attn_k = nn.Linear(width, width)
        self.combine = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.generator = nn.Linear(width, symbols)
        self.scale = sharpness / math.sqrt(width)
        self.attends = attends
        self.sites = Sites(
            act="tanh",
            hidden=["combine"],
            body=["encoder", "decoder", "attn_q", "attn_k", "combine"],
            head="generator",
            recurrent=["encoder", "decoder"],
            embeddings=["src_embed", "tgt_embed"],
            drops=["dropout"] if drop else [],
            attention={"attn_q": ["attn_q.weight", "attn_k.weight"]},
        )

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        where = self.position[: source.shape[1]]
        memory, state = self.encoder(self.src_embed(source) + where)
        out, _ = self.decoder(self.tgt_embed(target) + where, state)
        scores = self.attn_q(out) @ self.attn_k(memory).transpose(1, 2) * self.scale
        context = scores.softmax(-1) @ memory
        if not self.attends:
            context = torch.zeros_like(context)
        mixed = torch.tanh(self.combine(torch.cat([out, context], -1)))
        return self.generator(self.dropout(mixed))
