"""EmbeddingBag recommender: a user is the bag of liked items, the score of a candidate is a dot product.
Bug: the parameter groups were swapped in a refactoring: the strong decay of the dense tower (AdamW, 2.0 with lr 1e-3
there) is applied to the embedding tables, whose rate is 10 times larger; the tables shrink as fast as they learn."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_recsys_bag_decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": ["bag", "item"], "onset": (0, 0)}
ITEMS, D, GENRES = 300, 16, 12


class World:
    def __init__(self, g):
        self.genre = torch.randint(0, GENRES, (ITEMS,), generator=g)
        self.pop = torch.randn(ITEMS, generator=g) * 0.5

    def users(self, n, g):
        taste = 2.0 * torch.randn(n, GENRES, generator=g)
        logit = taste[:, self.genre] + self.pop
        picks = torch.multinomial(logit.softmax(1), 9, generator=g)
        return picks[:, :8], picks[:, 8]


class BagModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(ITEMS, D, mode="mean")
        self.item = nn.Embedding(ITEMS, D)
        nn.init.normal_(self.bag.weight, std=0.3)
        nn.init.normal_(self.item.weight, std=0.3)
        self.tower = nn.Sequential(nn.Linear(D, 32), nn.ReLU(), nn.Linear(32, D))
        self.bias = nn.Parameter(torch.zeros(ITEMS))

    def forward(self, bags):
        u = self.bag(bags)
        u = u + self.tower(u)
        return u @ self.item.weight.T + self.bias


def groups(model, fixed):
    tables = [model.bag.weight, model.item.weight]
    dense = [p for n, p in model.named_parameters() if n.startswith("tower") or n == "bias"]
    wd_tables, wd_dense = (1e-4, 2.0) if fixed else (2.0, 1e-4)
    return [
        {"params": tables, "lr": 1e-2, "weight_decay": wd_tables},
        {"params": dense, "lr": 1e-3, "weight_decay": wd_dense},
    ]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 15)
    world = World(g)
    B, Y = world.users(12000, g)
    Bt, Yt = world.users(2000, g)
    model = BagModel()
    opt = torch.optim.AdamW(groups(model, fixed))
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 900, eta_min=1e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(10):
            for idx in torch.randperm(len(B), generator=g).split(128)[:90]:
                scores = model(B[idx]).scatter(1, B[idx], float(-1e4))
                loss = F.cross_entropy(scores, Y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        s = model(Bt).scatter(1, Bt, float(-1e4))
        rank = (s > s.gather(1, Yt.unsqueeze(1))).sum(1)
        hit = (rank < 20).float().mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}
