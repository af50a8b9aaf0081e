"""A pretrained MLP-Mixer is fine-tuned on inverted, shifted digits after a cast of the whole model to
bfloat16: most AdamW steps of 3e-4 are below the spacing of the bf16 weights and are rounded away."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

ID = "mixer-finetune-bf16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.token = nn.Sequential(
            nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens)
        )
        self.channel = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.token(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, dim=48, depth=2, classes=10):
        super().__init__()
        self.patch = nn.Linear(4, dim)
        self.blocks = nn.Sequential(*[MixerBlock(16, dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, images):
        x = images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(images), 16, 4)
        return self.head(self.norm(self.blocks(self.patch(x))).mean(1))


def pretrain(model, x, y, steps=150):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        idx = torch.randint(0, len(x), (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[idx]), y[idx]).backward()
        optimizer.step()


def target_domain(x):
    """Another scanner: turned by a quarter, less contrast, noise."""
    return 0.8 * x.rot90(1, (1, 2)) + 0.2 * torch.randn_like(x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    config = {"precision": "fp32" if fixed else "bf16", "lr": 3e-4, "batch": 32, "steps": 400}
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)
    x = (x - x.mean()) / x.std()
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = Mixer()
    pretrain(model, x[:600], y[:600])
    dtype = torch.bfloat16 if config["precision"] == "bf16" else torch.float32
    model, x = model.to(dtype), target_domain(x).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    curve = []
    with observe(model, optimizer):
        for _ in range(config["steps"]):
            idx = torch.randint(600, 1400, (config["batch"],))
            loss = F.cross_entropy(model(x[idx]).float(), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(x[1400:]).float(), y[1400:]).item()
    return {"metric": loss, "better": "lower", "curve": curve}
