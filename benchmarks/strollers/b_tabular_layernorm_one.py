"""Tabular network with an embedding per column (FT-Transformer style tokens). Each numeric column goes through nn.LayerNorm(1): over one
value the result is always 0, so the numeric columns are erased. (Asked many times: 'LayerNorm outputs zeros'.)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tabular_layernorm_one"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["tokenizer.norm"], "onset": (0, 0)}


class Tokenizer(nn.Module):
    def __init__(self, n_num, cards, d, fixed):
        super().__init__()
        self.fixed = fixed
        self.norm = nn.LayerNorm(n_num) if fixed else nn.LayerNorm(1)
        self.weight = nn.Parameter(torch.randn(n_num, d) * 0.3)
        self.bias = nn.Parameter(torch.zeros(n_num, d))
        self.cats = nn.ModuleList([nn.Embedding(c, d) for c in cards])
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.3)

    def forward(self, num, cat):
        v = self.norm(num).unsqueeze(-1) if self.fixed else self.norm(num.unsqueeze(-1))
        tok = v * self.weight + self.bias
        ctok = torch.stack([e(cat[:, j]) for j, e in enumerate(self.cats)], 1)
        return torch.cat([self.cls.expand(len(num), -1, -1), tok, ctok], 1)


class FTModel(nn.Module):
    def __init__(self, n_num=6, cards=(5, 8), d=24, fixed=False):
        super().__init__()
        self.tokenizer = Tokenizer(n_num, cards, d, fixed)
        layer = nn.TransformerEncoderLayer(d, 4, 48, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, 3))

    def forward(self, num, cat):
        return self.head(self.encoder(self.tokenizer(num, cat))[:, 0])


def churn(n, g):
    num = torch.randn(n, 6, generator=g)
    cat = torch.stack(
        [torch.randint(0, 5, (n,), generator=g), torch.randint(0, 8, (n,), generator=g)], 1
    )
    s = (
        num[:, 0]
        - num[:, 1] * (cat[:, 0] > 2).float()
        + 0.8 * num[:, 2]
        + 0.6 * (cat[:, 1] % 3 - 1).float()
    )
    y = (s > -0.6).long() + (s > 0.7).long()
    return num, cat, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    num, cat, y = churn(3000, g)
    tn, tc, ty = churn(1000, g)
    model = FTModel(fixed=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    best, curve = 0.0, []
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for i in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(num[i], cat[i]), y[i], label_smoothing=0.02)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            model.eval()
            with torch.no_grad():
                best = max(best, (model(tn, tc).argmax(1) == ty).float().mean().item())
    return {"metric": best, "better": "higher", "curve": curve}
