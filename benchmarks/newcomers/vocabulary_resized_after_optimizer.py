"""Tied GRU language model; new tokens are added in mid-run by replacing the embedding parameter, the optimizer keeps the old one."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "vocabulary-resized-after-optimizer"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["emb"], "onset": (150, 153)}
OLD, NEW, T, SWITCH, STEPS = 20, 16, 24, 150, 380


class TiedLM(nn.Module):
    def __init__(self, vocab, d=64):
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        nn.init.normal_(self.emb.weight, std=d**-0.5)
        self.rnn = nn.GRU(d, d, batch_first=True)
        self.norm = nn.LayerNorm(d)

    def resize_token_embeddings(self, extra):
        w = self.emb.weight.data
        fresh = w.mean(0, keepdim=True) + 0.02 * torch.randn(extra, w.shape[1])
        self.emb.weight = nn.Parameter(torch.cat([w, fresh]))
        self.emb.num_embeddings += extra

    def forward(self, x):
        h, _ = self.rnn(self.emb(x))
        return F.linear(self.norm(h), self.emb.weight)


class Grammar:
    """Order-1 chain in which each token has three likely successors."""

    def __init__(self, vocab, g):
        self.g = g
        self.p = torch.full((vocab, vocab), 0.002)
        for i in range(vocab):
            self.p[i, torch.randperm(vocab, generator=g)[:3]] = torch.tensor([0.6, 0.25, 0.15])

    def __call__(self, n):
        x = torch.randint(len(self.p), (n, 1), generator=self.g)
        for _ in range(T):
            nxt = torch.multinomial(self.p[x[:, -1]], 1, generator=self.g)
            x = torch.cat([x, nxt], 1)
        return x


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    general, medical = Grammar(OLD, g), Grammar(OLD + NEW, g)
    medical.p[:OLD, :OLD] += 2 * general.p[:, :OLD]
    model = TiedLM(OLD)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)

    def loss_of(x):
        return F.cross_entropy(model(x[:, :-1]).transpose(1, 2), x[:, 1:])

    curve = []
    with observe(model, opt):
        for step in range(STEPS):
            if step == SWITCH:  # the domain corpus arrives with its own words
                model.resize_token_embeddings(NEW)
                if fixed:
                    opt.param_groups[0]["params"] = list(model.parameters())
            x = medical(32) if step >= SWITCH else general(32)
            loss = loss_of(x)
            model.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = loss_of(medical(512)).item()
    return {"metric": metric, "better": "lower", "curve": curve}
