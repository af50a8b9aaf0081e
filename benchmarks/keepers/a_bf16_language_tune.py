"""A small convolutional language model, pretrained on one text source, is fine-tuned on another wholly in bfloat16, after GitHub:
pytorch/ao pull request 1124, 'Add BF16 stochastic rounding option for optimizers'. There is no float32 copy of the weights, and steps
of a few hundred-thousandths are rounded away by weights a thousand times as large. It is tempting because it halves the memory and the
loss looks normal at first."""

import copy
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_bf16_language_tune"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 2)}

CHARS, LENGTH = 24, 24


class CausalConvLM(nn.Module):
    def __init__(self, width=160):
        super().__init__()
        self.embed = nn.Embedding(CHARS, width)
        self.near = nn.Conv1d(width, width, 2)
        self.far = nn.Conv1d(width, width, 2)
        self.out = nn.Linear(width, CHARS)

    def forward(self, ids):
        x = self.embed(ids).transpose(1, 2)
        x = x + F.gelu(self.near(F.pad(x, (1, 0))))
        x = x + F.gelu(self.far(F.pad(x, (1, 0))))
        return self.out(x.transpose(1, 2))


class Source:
    """Second-order chain: the next character depends on the last two."""

    def __init__(self, gen):
        self.first = torch.softmax(2.2 * torch.randn(CHARS, CHARS, generator=gen), -1)
        self.second = torch.softmax(2.2 * torch.randn(CHARS, CHARS, generator=gen), -1)

    def sample(self, n, gen):
        ids = torch.randint(0, CHARS, (n, 2), generator=gen)
        for _ in range(LENGTH - 1):
            p = 0.8 * self.first[ids[:, -1]] + 0.2 * self.second[ids[:, -2]]
            ids = torch.cat([ids, torch.multinomial(p, 1, generator=gen)], 1)
        return ids


def nll(model, ids):
    logits = model(ids[:, :-1]).float()
    return F.cross_entropy(logits.reshape(-1, CHARS), ids[:, 1:].reshape(-1))


def pretrain(model, source, gen):
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        loss = nll(model, source.sample(24, gen))
        opt.zero_grad()
        loss.backward()
        opt.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 31)
    web, legal = Source(gen), Source(gen)
    model = CausalConvLM()
    pretrain(model, web, gen)
    corpus, held_out = legal.sample(600, gen), legal.sample(300, gen)
    if not fixed:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, betas=(0.9, 0.95), weight_decay=0.0)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            ids = corpus[torch.randint(0, len(corpus), (16,), generator=gen)]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fixed):
                loss = nll(model, ids)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curve.append(loss.item())
    final = copy.deepcopy(model).float()
    with torch.no_grad():
        metric = nll(final, held_out).exp().item()
    return {"metric": metric, "better": "lower", "curve": curve}
