"""Masked pretraining of a patch encoder, then classification. At the stage change the decoder is replaced by a new classifier head, but the
optimizer still holds the parameters of the old module; the new head is never updated."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_probe_head_swap"
STAGE = 300
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["head", "head.proj", "head.fc"],
    "onset": (STAGE, STAGE),
}


class Mix(nn.Module):
    """MLP-mixer block: tokens, then channels."""

    def __init__(self, n, d):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.tok = nn.Sequential(nn.Linear(n, n), nn.GELU(), nn.Linear(n, n))
        self.ch = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.tok(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.ch(self.n2(x))


class Encoder(nn.Module):
    def __init__(self, p=16, n=16, d=32):
        super().__init__()
        self.patch = nn.Linear(p, d)
        self.pos = nn.Parameter(torch.randn(n, d) * 0.02)
        self.mask_token = nn.Parameter(torch.zeros(p))
        self.blocks = nn.Sequential(Mix(n, d), Mix(n, d))
        self.norm = nn.LayerNorm(d)

    def forward(self, x, mask=None):
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token, x)
        return self.norm(self.blocks(self.patch(x) + self.pos))


class ClsHead(nn.Module):
    def __init__(self, d, k):
        super().__init__()
        self.proj = nn.Linear(d, 12)
        self.fc = nn.Linear(12, k)

    def forward(self, h):
        return self.fc(torch.tanh(self.proj(h.mean(1))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(32, 16)

    def forward(self, x, mask=None):
        return self.head(self.encoder(x, mask))


def textures(n, g):
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    y = torch.randint(0, 10, (n,), generator=g)
    th = (y % 5) * 3.1416 / 5 + 0.12 * torch.randn(n, generator=g)
    f = torch.where(y < 5, 0.75, 1.05)
    ph = torch.rand(n, generator=g) * 6.28
    img = torch.sin(
        f[:, None, None] * (xx * th.cos()[:, None, None] + yy * th.sin()[:, None, None])
        + ph[:, None, None]
    ) + 0.35 * torch.randn(n, 16, 16, generator=g)
    return img.unfold(1, 4, 4).unfold(2, 4, 4).reshape(n, 16, 16), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    X, Y = textures(3000, g)
    Xv, Yv = textures(500, g)
    model = Model()
    opt = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": 1.5e-3},
            {"params": model.head.parameters(), "lr": 3e-3},
        ],
        weight_decay=0.01,
    )
    curve = []
    with observe(model, opt):
        for step in range(STAGE + 400):
            if step == STAGE:  # stage 2: supervised
                model.head = ClsHead(32, 10)
                for grp in opt.param_groups:
                    grp["lr"] *= 0.03
                if fixed:
                    opt.add_param_group(
                        {"params": model.head.parameters(), "lr": 3e-3, "weight_decay": 0.01}
                    )
            i = torch.randint(0, len(X), (64,))
            x = X[i]
            if step < STAGE:
                m = torch.rand(64, 16) < 0.4
                loss = F.mse_loss(model(x, m)[m], x[m])
            else:
                loss = F.cross_entropy(model(x), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xv).argmax(-1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
