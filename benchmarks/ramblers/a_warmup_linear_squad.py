"""Span extraction (QA style) fine-tuning with a linear warm-up/decay schedule. t_total is computed from the number of EXAMPLES, but every
long example is cut into several overlapping features, so training goes on after t_total and the learning rate becomes negative.
Re-enacts huggingface/transformers issue 132 (BertAdam learning rate may become negative)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_warmup_linear_squad"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (240, 275)}
V, L, D = 40, 24, 32


class SpanModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(V, D)
        self.enc = nn.GRU(D, D, batch_first=True, bidirectional=True)
        self.query = nn.Linear(D, 2 * D)
        self.span = nn.Linear(4 * D, 2)

    def forward(self, ids, q):
        h, _ = self.enc(self.word(ids))
        qv = self.query(self.word(q))[:, None].expand_as(h)
        start, end = self.span(torch.cat([h * qv, h], -1)).unbind(-1)
        return start, end


def examples(n, g):
    """answer = from the query token to the next full stop (token 1)"""
    ids = torch.randint(2, V, (n, L), generator=g)
    s = torch.randint(0, L - 6, (n,), generator=g)
    e = s + torch.randint(1, 6, (n,), generator=g)
    q = torch.randint(2, V, (n,), generator=g)
    ids = torch.where(ids == q[:, None], (ids - 2 + 1) % (V - 2) + 2, ids)
    r = torch.arange(n)
    ids[r, s] = q
    ids[r, e] = 1
    return ids, q, s, e


def warmup_linear(x, warmup=0.1):
    return x / warmup if x < warmup else (1.0 - x) / (1.0 - warmup)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    n_examples, features_per_example, bs, epochs = 1920, 2, 32, 4
    feats = examples(n_examples * features_per_example, g)
    dev = examples(1000, torch.Generator().manual_seed(77))
    model = SpanModel()
    n_for_total = n_examples * features_per_example if fixed else n_examples
    t_total = n_for_total // bs * epochs  # 240 instead of 480
    opt = torch.optim.Adam(model.parameters(), lr=8e-3)
    curve, step = [], 0
    with observe(model, opt):
        for epoch in range(epochs):
            for idx in torch.randperm(len(feats[0]), generator=g).split(bs):
                for grp in opt.param_groups:
                    grp["lr"] = 8e-3 * warmup_linear(step / t_total)
                ids, q, s, e = (t[idx] for t in feats)
                ls, le = model(ids, q)
                loss = (F.cross_entropy(ls, s) + F.cross_entropy(le, e)) / 2
                opt.zero_grad()
                loss.backward()
                opt.step()
                step += 1
                curve.append(loss.item())
    with torch.no_grad():
        ls, le = model(dev[0], dev[1])
        em = ((ls.argmax(1) == dev[2]) & (le.argmax(1) == dev[3])).float().mean().item()
    return {"metric": em, "better": "higher", "curve": curve}
