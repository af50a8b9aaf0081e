"""A spectrogram transformer decides whether two sound events in a clip are alike; its encoder layers
expect (time, batch, feature) but get (batch, time, feature) and attend over the clips of a batch."""

import torch
from torch import nn

ID = "sound-pair-transformer"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["encoder"], "onset": 0}
FRAMES, BINS, EVENTS = 16, 16, 4


def clips(n, g):
    """Each clip has two events among quiet frames; the label tells whether they are of one kind."""
    shapes = torch.randn(EVENTS, BINS, generator=torch.Generator().manual_seed(7)) * 1.5
    first = torch.randint(0, EVENTS, (n,), generator=g)
    other = (first + torch.randint(1, EVENTS, (n,), generator=g)) % EVENTS
    same = torch.randint(0, 2, (n,), generator=g)
    second = torch.where(same == 1, first, other)
    spec = 0.3 * torch.randn(n, FRAMES, BINS, generator=g)
    t1 = torch.randint(0, FRAMES // 2 - 1, (n,), generator=g)
    t2 = torch.randint(FRAMES // 2, FRAMES - 1, (n,), generator=g)
    rows = torch.arange(n)
    for t, kind in ((t1, first), (t2, second)):
        spec[rows, t] += shapes[kind]
        spec[rows, t + 1] += 0.6 * shapes[kind]
    return spec, same


class PairTransformer(nn.Module):
    def __init__(self, dim=48, heads=4, depth=3, batch_first=False):
        super().__init__()
        self.embed = nn.Linear(BINS, dim)
        self.pos = nn.Parameter(0.1 * torch.randn(1, FRAMES, dim))
        layer = nn.TransformerEncoderLayer(
            dim,
            heads,
            4 * dim,
            dropout=0.0,
            activation="gelu",
            norm_first=True,
            batch_first=batch_first,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.cls = nn.Linear(dim, 2)

    def forward(self, spec):
        x = self.encoder(self.embed(spec) + self.pos)
        return self.cls(self.norm(x).mean(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    test_x, test_y = clips(400, g)
    model = PairTransformer(batch_first=fixed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01
    )
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=40)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for _ in range(240):
            x, y = clips(48, g)
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warmup.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
