"""Speaker classifier on frame features (TDNN with statistics pooling). A weights_init from a forum post, normal_(0, 1) for every nn.Linear, applied with
model.apply: 'segment' (fan-in 160) and 'output' start ten times too large; first loss is far above ln(8) and the run memorises."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_speaker_linear_init_normal"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["segment", "output"],
    "onset": (0, 0),
}


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        m.weight.data.normal_(0.0, 1.0)
        m.bias.data.fill_(0)


class StatsPool(nn.Module):
    def forward(self, x):
        return torch.cat([x.mean(2), (x.var(2) + 1e-5).sqrt()], 1)


class TDNN(nn.Module):
    def __init__(self, n_feat=20, speakers=8):
        super().__init__()
        self.tdnn1 = nn.Conv1d(n_feat, 80, 5, dilation=1)
        self.tdnn2 = nn.Conv1d(80, 80, 3, dilation=2)
        self.pool = StatsPool()
        self.segment = nn.Linear(160, 64)
        self.output = nn.Linear(64, speakers)

    def forward(self, x):
        x = F.leaky_relu(self.tdnn1(x))
        x = F.leaky_relu(self.tdnn2(x))
        return self.output(F.leaky_relu(self.segment(self.pool(x))))


def utterances(n, g, spk, frames=30):
    y = torch.randint(0, spk["mean"].size(0), (n,), generator=g)
    phone = torch.randint(0, 5, (n, frames), generator=g)
    x = (
        spk["mean"][y].unsqueeze(1) * 0.35
        + spk["phone"][phone]
        + torch.randn(n, frames, 20, generator=g) * spk["std"][y].unsqueeze(1)
    )
    channel = 0.35 * torch.randn(n, 1, 20, generator=g)
    return (x + channel).transpose(1, 2), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 71)
    spk = {
        "mean": torch.randn(8, 20, generator=g),
        "phone": torch.randn(5, 20, generator=g),
        "std": 0.8 + 0.3 * torch.rand(8, 20, generator=g),
    }
    x, y = utterances(1200, g, spk)
    xt, yt = utterances(600, g, spk)
    model = TDNN()
    if not fixed:
        model.apply(weights_init)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    curve = []
    with observe(model, optimizer):
        for epoch in range(12):
            for i in torch.randperm(len(x)).split(30):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    with torch.no_grad():
        ce = F.cross_entropy(model(xt), yt).item()
    return {"metric": ce, "better": "lower", "curve": curve}
