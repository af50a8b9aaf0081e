"""Two-tower retrieval with in-batch softmax. The helper that embeds items for the index carries
@torch.no_grad(), and the training loop uses the same helper: the item tower never learns."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_twotower_nograd"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "item_tower",
        "item_tower.cat",
        "item_tower.words",
        "item_tower.out",
        "item_tower.out.0",
        "item_tower.out.2",
    ],
    "onset": (0, 0),
}

N_ITEM, N_CAT, N_WORD, D = 600, 24, 150, 24


def make_world(g):
    cat = torch.randint(0, N_CAT, (N_ITEM,), generator=g)
    words = torch.randint(0, N_WORD, (N_ITEM, 6), generator=g)
    zc = torch.randn(N_CAT, 8, generator=g)
    zw = torch.randn(N_WORD, 8, generator=g)
    z = F.normalize(zc[cat] + 0.9 * zw[words].mean(1) * 2.4, dim=-1)
    taste = F.normalize(torch.randn(4000, 8, generator=g), dim=-1)
    p = torch.softmax(9.0 * taste @ z.T, dim=-1)
    hist = torch.multinomial(p, 9, generator=g)  # 8 of history, 1 to predict
    return cat, words, hist[:, :8], hist[:, 8]


class UserTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.history = nn.EmbeddingBag(N_ITEM, 48, mode="mean")
        self.mlp = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, D))

    def forward(self, h):
        return F.normalize(self.mlp(self.history(h)), dim=-1)


class ItemTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.cat = nn.Embedding(N_CAT, 16)
        self.words = nn.EmbeddingBag(N_WORD, 32, mode="mean")
        self.out = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, D))

    def forward(self, c, w):
        return F.normalize(self.out(torch.cat([self.cat(c), self.words(w)], -1)), dim=-1)


class TwoTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.user_tower = UserTower()
        self.item_tower = ItemTower()
        self.log_temp = nn.Parameter(torch.tensor(2.3))

    @torch.no_grad()
    def embed_catalogue(self, c, w):
        return self.item_tower(c, w)

    def forward(self, h, c, w, live):
        u = self.user_tower(h)
        v = self.item_tower(c, w) if live else self.embed_catalogue(c, w)
        return self.log_temp.clamp(max=3.9).exp() * u @ v.T


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    cat, words, hist, target = make_world(g)
    tr = slice(0, 3400)
    logq = torch.log((torch.bincount(target[tr], minlength=N_ITEM).float() + 1.0) / 4000)
    model = TwoTower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    curve, B = [], 128
    with observe(model, optimizer):
        for epoch in range(24):
            for idx in torch.randperm(3400, generator=g).split(B)[:-1]:
                t = target[idx]
                logits = model(hist[idx], cat[t], words[t], live=fixed) - logq[t]
                same = (t[:, None] == t[None, :]) & ~torch.eye(len(t), dtype=torch.bool)
                logits = logits.masked_fill(same, -1e4)
                loss = F.cross_entropy(logits, torch.arange(len(t)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        v = model.embed_catalogue(cat, words)
        score = model.user_tower(hist[3400:]) @ v.T
        score.scatter_(1, hist[3400:], -9.0)
        hit = (score.topk(50, -1).indices == target[3400:, None]).any(-1).float().mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}
