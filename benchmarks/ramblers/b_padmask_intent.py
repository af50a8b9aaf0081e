"""Intent classification of variable-length token sequences with nn.TransformerEncoderLayer(norm_first=True).
Bug (not in the list): src_key_padding_mask gets the mask of the VALID positions (Hugging Face convention) where PyTorch wants True
for the padding; attention sees only padding, except at sequences of full length."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_padmask_intent"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
V, L = 40, 24


def utterances(n, g):
    """the intent is the order relation of a verb token and an object token, somewhere in filler"""
    x = torch.randint(20, V, (n, L), generator=g)
    length = torch.randint(10, L - 1, (n,), generator=g)
    verb = torch.randint(1, 5, (n,), generator=g)
    obj = torch.randint(5, 9, (n,), generator=g)
    for i in range(n):
        a, b = torch.randperm(int(length[i]), generator=g)[:2].tolist()
        x[i, a], x[i, b] = verb[i], obj[i]
        x[i, length[i] :] = 0
    y = (verb - 1 + obj - 5) % 4
    return x, y


class IntentNet(nn.Module):
    def __init__(self, fixed, d=48):
        super().__init__()
        self.fixed = fixed
        self.tok = nn.Embedding(V, d, padding_idx=0)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, L + 1, d) * 0.02)
        layer = nn.TransformerEncoderLayer(
            d, 4, 96, dropout=0.0, norm_first=True, batch_first=True, activation="gelu"
        )
        self.enc = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(d), enable_nested_tensor=False)
        self.out = nn.Linear(d, 4)

    def forward(self, x):
        h = torch.cat([self.cls.expand(len(x), -1, -1), self.tok(x)], 1) + self.pos
        valid = torch.cat([torch.ones(len(x), 1, dtype=torch.bool), x != 0], 1)
        mask = ~valid if self.fixed else valid
        return self.out(self.enc(h, src_key_padding_mask=mask)[:, 0])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 6)
    X, Y = utterances(4000, g)
    Xt, Yt = utterances(600, g)
    model = IntentNet(fixed)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=2e-3
    )
    steps = 500
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=steps, pct_start=0.1)
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (48,), generator=g)
            loss = F.cross_entropy(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
