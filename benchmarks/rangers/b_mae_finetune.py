"""A masked autoencoder over vibration signals is pre-trained and then fine-tuned as a fault classifier in one script.
Pre-training sums the squared error over the batch, fine-tuning averages a cross-entropy, and the same Adam, with beta2 raised for
"stability", is carried over: its squared-gradient averages of the encoder still belong to the first loss, so the encoder hardly moves."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_mae_finetune"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": (300, 305)}
PRE, FINE, L, P = 300, 600, 64, 8


class Signal(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.patch = nn.Linear(P, d)
        self.pos = nn.Parameter(0.02 * torch.randn(1, L // P, d))
        self.mask_token = nn.Parameter(torch.zeros(d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.decoder = nn.Linear(d, P)
        self.classifier = nn.Linear(d, 4)

    def encode(self, x, mask=None):
        tok = self.patch(x.view(len(x), -1, P))
        if mask is not None:
            tok = torch.where(mask.unsqueeze(-1), self.mask_token, tok)
        return self.encoder(tok + self.pos)

    def forward(self, x):
        return self.classifier(self.encode(x).mean(1))


def make(n, g):
    t = torch.arange(L) / L
    y = torch.randint(0, 4, (n,), generator=g)
    a, b = y // 2, y % 2
    ph = torch.rand(n, 2, generator=g) * 6.283
    f1 = 2.0 + torch.rand(n, generator=g)
    carrier = torch.sin(6.283 * f1[:, None] * t + ph[:, :1])
    # the classes: two impulses in the same direction or not, close together or not
    p1 = torch.randint(4, 24, (n,), generator=g)
    gap = torch.where(
        b == 1, torch.randint(4, 10, (n,), generator=g), torch.randint(20, 34, (n,), generator=g)
    )
    sign = (torch.randint(0, 2, (n,), generator=g) * 2 - 1).float()
    x = carrier + 0.2 * torch.randn(n, L, generator=g)
    r = torch.arange(n)
    x[r, p1] += 2.5 * sign
    x[r, p1 + gap] += 2.5 * sign * torch.where(a == 1, 1.0, -1.0)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    x, y = make(30000, g)
    xt, yt = make(800, g)
    model = Signal()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.9999))
    curve = []
    with observe(model, optimizer):
        for step in range(PRE + FINE):
            i = torch.randint(0, len(x), (64,), generator=g)
            if step < PRE:
                mask = torch.rand(64, L // P, generator=g) < 0.5
                rec = model.decoder(model.encode(x[i], mask))
                loss = (((rec - x[i].view(64, -1, P)) ** 2) * mask.unsqueeze(-1)).sum()
            else:
                if step == PRE and fixed:
                    optimizer.state.clear()
                loss = F.cross_entropy(model(x[i]), y[i])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
