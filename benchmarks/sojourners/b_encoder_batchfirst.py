"""Transformer encoder for parity-like logic over event sequences (which of two events came first, times a flag).
Bug (not in the list): batch_first is missing, the model gets (batch, time, d): attention mixes the samples of a batch, not the time steps."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_encoder_batchfirst"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["encoder", "encoder.layers.0", "encoder.layers.0.self_attn"],
    "onset": (0, 0),
}


class EventEncoder(nn.Module):
    def __init__(self, V=12, d=32, T=16, batch_first=True):
        super().__init__()
        self.tok, self.pos = nn.Embedding(V, d), nn.Parameter(torch.randn(T, d) * 0.1)
        layer = nn.TransformerEncoderLayer(
            d, 4, 64, dropout=0.0, batch_first=batch_first, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.cls = nn.Linear(d, 4)

    def forward(self, x):
        h = self.encoder(self.tok(x) + self.pos)
        return self.cls(h[:, 0])


def events(n, T=16):
    """Token 0 heads the sequence; the class is 2*[A before B] + [event C is present]."""
    x = torch.randint(4, 12, (n, T))
    p = torch.rand(n, T - 1).argsort(1)[:, :3] + 1
    r = torch.arange(n)
    x[:, 0] = 0
    x[r, p[:, 0]], x[r, p[:, 1]] = 1, 2
    c = torch.rand(n) < 0.5
    x[r[c], p[c, 2]] = 3
    return x, 2 * (p[:, 0] < p[:, 1]).long() + c.long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = EventEncoder(batch_first=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=600, pct_start=0.1)
    curve = []
    with observe(model, opt):
        for step in range(600):
            x, y = events(64)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = events(512)
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
