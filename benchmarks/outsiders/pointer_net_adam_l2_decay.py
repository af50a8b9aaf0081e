"""Pointer network that sorts; weight_decay=0.1 taken from an AdamW recipe but given to Adam (L2 through the moments)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "pointer-net-adam-l2-decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": None}
H, N = (48, 6)


class PointerNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(1, H)
        self.enc = nn.LSTM(H, H, batch_first=True, bidirectional=True)
        self.mem = nn.Linear(2 * H, H)
        self.cell = nn.LSTMCell(H, H)
        self.w1, self.w2, self.v = (
            nn.Linear(H, H, bias=False),
            nn.Linear(H, H, bias=False),
            nn.Linear(H, 1, bias=False),
        )
        self.start = nn.Parameter(torch.randn(H) * 0.1)

    def forward(self, x, order):
        m = self.mem(self.enc(self.inp(x[..., None]))[0])
        h = m.mean(1)
        c = torch.zeros_like(h)
        d = self.start.expand(len(x), -1)
        used = torch.zeros(len(x), N, dtype=torch.bool)
        logits = []
        for t in range(N - 1):
            h, c = self.cell(d, (h, c))
            e = (
                self.v(torch.tanh(self.w1(m) + self.w2(h)[:, None]))
                .squeeze(-1)
                .masked_fill(used, -10000.0)
            )
            logits.append(e)
            d = m[torch.arange(len(x)), order[:, t]]
            used = used.scatter(1, order[:, t : t + 1], True)
        return torch.stack(logits, 1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = PointerNet()
    opt = (torch.optim.AdamW if fixed else torch.optim.Adam)(
        model.parameters(), lr=0.002, weight_decay=0.1
    )
    losses = []
    with observe(model, opt):
        for step in range(400):
            x = torch.rand(64, N, generator=g) * 2 - 1
            order = x.argsort(1)
            loss = F.cross_entropy(model(x, order).flatten(0, 1), order[:, : N - 1].flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
