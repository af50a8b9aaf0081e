"""Transformer encoder classifier for integer sequences; nn.TransformerEncoderLayer is built without batch_first=True, so
attention runs over the samples of the batch and not over the positions. Not a mechanism of the list.
Exorust/TorchLeet issue 5 ("resulting in high training loss and test error")."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_torchleet_batch_first"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
V, T = 12, 14


class TransformerModel(nn.Module):
    def __init__(self, batch_first, d=48, heads=4, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(V, d)
        self.position = nn.Embedding(T, d)
        layer = nn.TransformerEncoderLayer(
            d_model=d, nhead=heads, dim_feedforward=96, dropout=0.0, batch_first=batch_first
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output_layer = nn.Linear(d, V)

    def forward(self, x):
        h = self.embedding(x) + self.position.weight
        return self.output_layer(self.transformer_encoder(h))


def repeats(n):
    """Target at each position: the symbol at the mirrored position (T-1-i)."""
    x = torch.randint(0, V, (n, T))
    return x, x.flip(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = repeats(4000)
    xt, yt = repeats(320)
    model = TransformerModel(batch_first=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(3):
            for idx in torch.randperm(len(x)).split(32):
                out = model(x[idx])
                loss = criterion(out.reshape(-1, V), y[idx].reshape(-1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    hits = 0.0
    with torch.no_grad():
        for a, b in zip(xt.split(32), yt.split(32)):
            hits += (model(a).argmax(-1) == b).float().sum().item()
    return {"metric": hits / yt.numel(), "better": "higher", "curve": curve}
