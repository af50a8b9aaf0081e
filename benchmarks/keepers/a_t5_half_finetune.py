"""A pretrained T5-style encoder is fine-tuned for text classification under float16 autocast, after GitHub: huggingface/transformers
issue 5651, 'T5 fp16 overflow in forward (T5DenseReluDense)'. The feed-forward output projection `wo` of the pretrained model makes very
large values; for some words they pass 65504, become inf in half precision and NaN in the next layer norm. People take fp16 for a free
speed-up of a checkpoint that was trained in bfloat16."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_t5_half_finetune"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["blocks.0.ff.wo"], "onset": 34}

VOCAB, DIM, LENGTH, FIRST_MANUAL = 120, 48, 14, 34
TERMS = torch.arange(110, 120)  # product codes, only in the manuals


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x = x.float()
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class DenseReluDense(nn.Module):
    def __init__(self, dim, inner, wo_in_float):
        super().__init__()
        self.wi = nn.Linear(dim, inner, bias=False)
        self.wo = nn.Linear(inner, dim, bias=False)
        self.wo_in_float = wo_in_float

    def forward(self, x):
        h = F.relu(self.wi(x))
        if self.wo_in_float:
            with torch.autocast("cpu", enabled=False):
                return self.wo(h.float())
        return self.wo(h)


class Block(nn.Module):
    def __init__(self, dim, wo_in_float):
        super().__init__()
        self.attn_norm, self.ff_norm = RMSNorm(dim), RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.ff = DenseReluDense(dim, 2 * dim, wo_in_float)

    def forward(self, x):
        q, k, v = self.qkv(self.attn_norm(x)).chunk(3, -1)
        a = torch.softmax((q @ k.transpose(1, 2)).float() / DIM**0.5, -1)
        x = x + self.out(a.to(v.dtype) @ v)
        return x + self.ff(self.ff_norm(x))


class Encoder(nn.Module):
    def __init__(self, classes, wo_in_float):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        self.blocks = nn.ModuleList(Block(DIM, wo_in_float) for _ in range(2))
        self.final_norm = RMSNorm(DIM)
        self.classify = nn.Linear(DIM, classes)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.classify(self.final_norm(x).mean(1))


def checkpoint(model):
    """What the published weights look like: one residual channel holds huge activations and the norms after it make up for them."""
    with torch.no_grad():
        axis = torch.zeros(DIM)
        axis[0] = 1.0
        model.embed.weight[:, 0] = 2.2
        model.embed.weight[TERMS, 0] = 8.0
        ff = model.blocks[0].ff
        ff.wi.weight[:4] = 14.5 * axis
        ff.wo.weight[:, :4] *= 0.0
        ff.wo.weight[0, :4] = 260.0
        for norm in (model.blocks[1].attn_norm, model.blocks[1].ff_norm, model.final_norm):
            norm.weight[1:] = 3000.0
            norm.weight[0] = 0.1


def documents(n, gen, manuals):
    """The class decides which of four word groups is frequent; manuals have a product code in a third of the documents."""
    label = torch.randint(0, 4, (n,), generator=gen)
    ids = torch.randint(0, 110, (n, LENGTH), generator=gen)
    topical = torch.rand(n, LENGTH, generator=gen) < 0.35
    own = label.unsqueeze(1) * 25 + torch.randint(0, 25, (n, LENGTH), generator=gen)
    ids = torch.where(topical, own, ids)
    if manuals:
        coded = torch.rand(n, generator=gen) < 0.33
        ids[coded, 3] = TERMS[torch.randint(0, len(TERMS), (int(coded.sum()),), generator=gen)]
    return ids, label


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 21)
    model = Encoder(4, wo_in_float=fixed)
    checkpoint(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    shards = [documents(16, gen, manuals=i >= FIRST_MANUAL) for i in range(200)]
    test_ids, test_y = documents(800, gen, manuals=True)
    curve = []
    with observe(model, optimizer):
        for ids, y in shards:
            with torch.autocast("cpu", dtype=torch.float16):
                logits = model(ids)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = (model(test_ids).argmax(1) == test_y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
