"""Fine-tuning a pretrained token-shift language model after model.bfloat16(), AdamW straight on the bf16 weights at 2e-4: most updates round away."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "finetune-all-bfloat16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": [], "onset": (0, 1)}
VOCAB, T = 40, 16


class ShiftMix(nn.Module):
    """Channel mixing over the present and the previous position (RWKV token shift)."""

    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.key, self.shift, self.value = (
            nn.Linear(d, d),
            nn.Linear(d, d, bias=False),
            nn.Linear(d, d),
        )

    def forward(self, x):
        h = self.norm(x)
        before = F.pad(h, (0, 0, 1, -1))
        return x + self.value(F.gelu(self.key(h) + self.shift(before)))


class TokenShiftLM(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.mix = nn.Sequential(ShiftMix(d), ShiftMix(d))
        self.ln_out, self.head = nn.LayerNorm(d), nn.Linear(d, VOCAB)

    def forward(self, idx):
        return self.head(self.ln_out(self.mix(self.embed(idx)))).float()


def text(n, table, g):
    """The successor depends on the token and on the parity of the one before."""
    x = torch.randint(VOCAB, (n, 2), generator=g)
    for _ in range(T):
        p = table[x[:, -2] % 2, x[:, -1]]
        x = torch.cat([x, torch.multinomial(p, 1, generator=g)], 1)
    return x[:, 1:]


def new_table(g):
    t = torch.full((2, VOCAB, VOCAB), 0.002)
    for parity in range(2):
        for i in range(VOCAB):
            t[parity, i, torch.randperm(VOCAB, generator=g)[:2]] = torch.tensor([0.7, 0.3])
    return t


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    source, target = new_table(g), new_table(g)
    moved = torch.rand(VOCAB, generator=g) < 0.6
    target[:, ~moved] = source[:, ~moved]
    model = TokenShiftLM()

    def loss_fn(x):
        return F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

    pretrain = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(250):
        pretrain.zero_grad()
        loss_fn(text(24, source, g)).backward()
        pretrain.step()
    model.zero_grad()

    if not fixed:
        model = model.bfloat16()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-4)
    curve = []
    with observe(model, opt):
        for step in range(400):
            loss = loss_fn(text(20, target, g))
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = loss_fn(text(400, target, g)).item()
    return {"metric": metric, "better": "lower", "curve": curve}
