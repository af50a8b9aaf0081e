"""Fine-tuning of a small MLP-mixer for sensor windows with `model.to(torch.bfloat16)` and a small learning rate: the updates are less than half a unit
in the last place of most weights. The repaired program keeps float32 weights and uses autocast."""

import contextlib
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_pure_bf16_finetune"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tok = nn.Sequential(
            nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens)
        )
        self.chn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.tok(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.chn(self.n2(x))


class Mixer(nn.Module):
    def __init__(self, channels=6, patch=8, length=64, dim=48, classes=8):
        super().__init__()
        self.patchify = nn.Conv1d(channels, dim, patch, stride=patch)
        self.blocks = nn.Sequential(*[MixerBlock(length // patch, dim) for _ in range(2)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        h = self.patchify(x).transpose(1, 2)
        return self.head(self.norm(self.blocks(h)).mean(1))


class Activities:
    def __init__(self, g, classes=8):
        self.g = g
        self.proto = torch.randn(classes, 6, 64, generator=g).cumsum(-1)
        self.proto = (self.proto - self.proto.mean(-1, keepdim=True)) / self.proto.std(
            -1, keepdim=True
        )

    def batch(self, n):
        y = torch.randint(0, len(self.proto), (n,), generator=self.g)
        x = 0.9 * self.proto[y] * (0.7 + 0.6 * torch.rand(n, 1, 1, generator=self.g))
        return x + 1.0 * torch.randn(n, 6, 64, generator=self.g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = Activities(torch.Generator().manual_seed(seed + 5))
    model = Mixer()
    dtype = torch.float32
    if not fixed:
        dtype = torch.bfloat16
        model = model.to(dtype)
    opt = torch.optim.AdamW(model.parameters(), lr=4e-5, weight_decay=0.01)
    amp = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if fixed else contextlib.nullcontext
    curve = []
    with observe(model, opt):
        for step in range(700):
            x, y = data.batch(64)
            with amp():
                logits = model(x.to(dtype))
            loss = F.cross_entropy(logits.float(), y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad(), amp():
        x, y = data.batch(2000)
        nll = F.cross_entropy(model(x.to(dtype)).float(), y).item()
    return {"metric": nll, "better": "lower", "curve": curve}
