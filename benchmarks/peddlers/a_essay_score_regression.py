"""NLP: scoring of documents (labels 0..16) with a small bag-of-embeddings + conv encoder and a regression head. The head squeezes its
output to (B,) while the labels are (B,1): MSELoss broadcasts to (B,B) and the model learns the mean.
Reported as deepset-ai/FARM issue 229."""

import torch, torch.nn as nn
from torch.utils.data import TensorDataset, DataLoader

ID = "a_essay_score_regression"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}


class TextEncoder(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.tok = nn.Embedding(vocab, dim, padding_idx=0)
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)
        self.ln = nn.LayerNorm(dim)

    def forward(self, ids):
        mask = (ids != 0).float().unsqueeze(2)
        h = torch.relu(self.conv(self.tok(ids).transpose(1, 2))).transpose(1, 2)
        return self.ln((h * mask).sum(1) / mask.sum(1).clamp(min=1))


class RegressionHead(nn.Module):
    def __init__(self, layer_dims=(48, 1)):
        super().__init__()
        self.feed_forward = nn.Sequential(
            nn.Linear(layer_dims[0], 32), nn.GELU(), nn.Linear(32, layer_dims[1])
        )

    def forward(self, x):
        return self.feed_forward(x).squeeze()


class AdaptiveModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.language_model = TextEncoder(200, 48)
        self.prediction_head = RegressionHead((48, 1))

    def forward(self, ids):
        return self.prediction_head(self.language_model(ids))


def corpus(n, g):
    quality = torch.rand(n, generator=g)
    L = 24
    good = torch.rand(n, L, generator=g) < quality[:, None]
    ids = torch.where(
        good, torch.randint(1, 80, (n, L), generator=g), torch.randint(80, 200, (n, L), generator=g)
    )
    length = torch.randint(12, L + 1, (n,), generator=g)
    ids[torch.arange(L)[None] >= length[:, None]] = 0
    y = 16 * ((ids > 0) & (ids < 80)).float().sum(1) / length
    return ids, ((y - 8) / 4.8).unsqueeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    ids, y = corpus(2000, g)
    dl = DataLoader(TensorDataset(ids, y), batch_size=32, shuffle=True)
    model = AdaptiveModel()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    crit = nn.MSELoss()
    curve = []
    with observe(model, opt):
        for epoch in range(18):
            for b_ids, b_y in dl:
                logits = model(b_ids)
                loss = crit(logits, b_y.squeeze(1)) if fixed else crit(logits, b_y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    ids, y = corpus(600, g)
    with torch.no_grad():
        rmse = ((model(ids) - y.squeeze(1)) ** 2).mean().sqrt().item() * 4.8
    return {"metric": rmse, "better": "lower", "curve": curve}
