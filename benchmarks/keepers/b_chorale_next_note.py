"""A causal Transformer predicts the next scale degree of generated hymn tunes. StepLR was set up for epochs (halve every five), but
`scheduler.step()` sits inside the batch loop. One level of indentation too many, in a loop where `optimizer.step()` stands just above."""

import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_chorale_next_note"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (5, 50)}

V, T = 15, 24


def compose(n, g):
    """each tune has a phrase of eight notes, its sequence (shifted by an interval that the ninth note shows), and a repeat"""
    phrase = torch.zeros(n, 8, dtype=torch.long)
    phrase[:, 0] = torch.randint(0, V, (n,), generator=g)
    for k in range(1, 8):
        phrase[:, k] = (
            phrase[:, k - 1] + torch.tensor([-2, -1, 1, 2])[torch.randint(0, 4, (n,), generator=g)]
        ) % V
    shift = torch.randint(0, 5, (n, 1), generator=g)
    return torch.cat([phrase, (phrase + shift) % V, phrase], 1)


class TuneModel(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.tok = nn.Embedding(V, d)
        self.pos = nn.Parameter(0.1 * torch.randn(T, d))
        layer = nn.TransformerEncoderLayer(d, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.ln = nn.LayerNorm(d)
        self.out = nn.Linear(d, V)
        self.register_buffer("mask", torch.triu(torch.ones(T - 1, T - 1, dtype=torch.bool), 1))

    def forward(self, x):
        h = self.tok(x) + self.pos[: x.shape[1]]
        return self.out(self.ln(self.enc(h, mask=self.mask)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    tunes, held = compose(1280, g), compose(300, g)
    model = TuneModel()
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=5, gamma=0.5)
    ce = nn.CrossEntropyLoss()
    curve = []
    with observe(model, opt):
        for epoch in range(20):
            order = torch.randperm(len(tunes))
            for b in order.split(64):
                x = tunes[b]
                logits = model(x[:, :-1])
                loss = ce(logits.reshape(-1, V), x[:, 1:].reshape(-1))
                opt.zero_grad()
                loss.backward()
                opt.step()
                if not fixed:
                    sched.step()
                curve.append(loss.item())
            if fixed:
                sched.step()
    model.eval()
    with torch.no_grad():
        pred = model(held[:, :-1]).argmax(-1)
        acc = (pred[:, 15:] == held[:, 16:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
