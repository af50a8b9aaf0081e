"""Two-tower retrieval: the item embedding is regrown for a new catalogue after the optimizer."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "c-two-tower-catalog"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["items", "items.ids"],
    "onset": 0,
}


class ItemTower(nn.Module):
    def __init__(self, n_items, d):
        super().__init__()
        self.ids = nn.Embedding(n_items, d)
        nn.init.normal_(self.ids.weight, std=0.1)
        self.category = nn.Linear(8, d, bias=False)

    def extend_catalog(self, n_items):
        old = self.ids.weight.data
        grown = nn.Embedding(n_items, old.shape[1])
        nn.init.normal_(grown.weight, std=0.1)
        grown.weight.data[: len(old)] = old
        self.ids = grown

    def forward(self, idx, cats):
        return self.ids(idx) + self.category(cats[idx])


class UserTower(nn.Module):
    def __init__(self, d_in, d):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d_in, 160), nn.GELU(), nn.Linear(160, d))

    def forward(self, profile):
        return self.net(profile)


class TwoTower(nn.Module):
    def __init__(self, d_user, n_items, d=24):
        super().__init__()
        self.users = UserTower(d_user, d)
        self.items = ItemTower(n_items, d)

    def forward(self, profile, idx, cats):
        return self.users(profile) @ self.items(idx, cats).T


def shop(n_users=8000, n_items=600):
    taste = torch.randn(n_users, 10)
    profile = torch.cat([taste @ torch.randn(10, 12) / 3, torch.randn(n_users, 4)], 1)
    profile = profile + 0.1 * torch.randn_like(profile)
    style = torch.randn(n_items, 10)
    cats = F.one_hot(style[:, :8].argmax(1), 8).float()
    prob = (1.4 * taste @ style.T).softmax(1)
    bought = torch.multinomial(prob, 6, replacement=False)
    return profile, cats, bought


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    profile, cats, bought = shop()
    n_items, n_train = len(cats), 7000
    model = TwoTower(profile.shape[1], n_items=120)
    if fixed:
        model.items.extend_catalog(n_items)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    if not fixed:
        model.items.extend_catalog(n_items)
    everything = torch.arange(n_items)
    curve = []
    with observe(model, opt):
        for _ in range(500):
            user = torch.randint(0, n_train, (768,))
            item = bought[user, torch.randint(0, 6, (768,))]
            logits = model(profile[user], everything, cats)
            loss = F.cross_entropy(logits, item)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        top = model(profile[n_train:], everything, cats).topk(20).indices
    hits = (top[:, :, None] == bought[n_train:, None, :]).any(1).float().mean().item()
    return {"metric": hits, "better": "higher", "curve": curve}
