"""Class-incremental learning of sound events with replay: half-way the classifier is grown from four to ten classes. The new
linear layer replaces `model.head` while the optimizer still holds the parameters of the old one, so the head that is used
stays as it was built. The backbone goes on learning and hides it."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_class_growth"
GROW = 250
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["head"], "onset": GROW}


class Listener(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.bank = nn.Conv1d(1, 16, 9, stride=2, padding=4)
        self.deep = nn.Conv1d(16, 24, 5, stride=2, padding=2)
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        h = F.relu(self.bank(x))
        return self.head(F.relu(self.deep(h)).mean(-1))


def grow(model, total):
    old = model.head
    new = nn.Linear(old.in_features, total)
    nn.init.normal_(new.weight, std=0.01)
    nn.init.zeros_(new.bias)
    with torch.no_grad():
        new.weight[: old.out_features] = old.weight
        new.bias[: old.out_features] = old.bias
    model.head = new


def sounds(n, classes, gen):
    y = classes[torch.randint(0, len(classes), (n,), generator=gen)]
    t = torch.arange(96.0)[None]
    f = (0.2 + 0.14 * y.float())[:, None] * (1 + 0.02 * torch.randn(n, 1, generator=gen))
    env = torch.exp(-(((t - 30 - 36 * torch.rand(n, 1, generator=gen)) / 25) ** 2))
    x = env * torch.sin(f * 2 * t + 6.28 * torch.rand(n, 1, generator=gen)) + 0.15 * torch.randn(
        n, 96, generator=gen
    )
    return x.unsqueeze(1) * 2, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(83 + seed)
    first, every = torch.tensor([1, 4, 6, 9]), torch.arange(10)
    remap = torch.tensor([4, 0, 5, 6, 1, 7, 2, 8, 9, 3])
    xv, yv = sounds(1000, every, gen)
    model = Listener(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for step in range(GROW + 500):
            if step == GROW:
                grow(model, 10)
                if fixed:
                    optimizer.add_param_group({"params": list(model.head.parameters())})
            x, y = sounds(48, first if step < GROW else every, gen)
            loss = F.cross_entropy(model(x), remap[y])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == remap[yv]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
