"""A transformer encoder with a class token tells whether a shopping session (a sequence of events) ends in a purchase.
The tensors are batch first, but TransformerEncoderLayer expects time first unless told otherwise, so attention runs across the sessions
of a batch, and the class token never sees its own session. Every shape fits, nothing complains, and the loss rests at chance."""

import torch
from torch import nn

ID = "a_shop_sessions"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

EVENTS, LENGTH = 20, 16


class SessionModel(nn.Module):
    def __init__(self, dim=32, **layout):
        super().__init__()
        self.event = nn.Embedding(EVENTS, dim)
        self.place = nn.Parameter(torch.randn(1, LENGTH + 1, dim) * 0.1)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.1)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, activation="gelu", **layout)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 1)

    def forward(self, x):
        h = torch.cat([self.cls.expand(len(x), -1, -1), self.event(x)], 1) + self.place
        return self.head(self.encoder(h)[:, 0]).squeeze(1)


def sessions(count, g):
    x = torch.randint(0, EVENTS, (count, LENGTH), generator=g)
    worth = torch.linspace(-1, 1, EVENTS).roll(7)
    recency = torch.linspace(0.5, 1.5, LENGTH)
    score = (worth[x] * recency).sum(1) + 0.2 * torch.randn(count, generator=g)
    return x, (score > 0).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(8 + seed)
    x, y = sessions(7000, g)
    layout = {"batch_first": True} if fixed else {}
    model = SessionModel(**layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, 6000, (48,), generator=g)
            loss = criterion(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = [
            ((model(x[i : i + 50]) > 0).float() == y[i : i + 50]).float().mean()
            for i in range(6000, 7000, 50)
        ]
    return {"metric": torch.stack(right).mean().item(), "better": "higher", "curve": curve}
