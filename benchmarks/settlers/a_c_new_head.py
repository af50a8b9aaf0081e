"""Transfer learning on 8x8 digits: a small CNN pretrained on 0-4 is frozen and gets a new `fc` for 5-9.
The optimizer was created before the head was swapped and goes on holding the old head's weights."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim

ID = "new_head_old_optimizer"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["fc"], "onset": 0}


class SmallCNN(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4 * 4, n_classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


def load(seed):
    digits = load_digits()
    images = torch.tensor(digits.images / 16.0 - 0.3, dtype=torch.float32).unsqueeze(1) / 0.37
    labels = torch.tensor(digits.target)
    perm = torch.from_numpy(np.random.RandomState(seed).permutation(len(labels)))
    images, labels = images[perm], labels[perm]
    old = labels < 5
    return (images[old], labels[old]), (images[~old], labels[~old] - 5)


def pretrain(model, x, y):
    opt = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        for xb, yb in zip(x.split(32), y.split(32)):
            opt.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            opt.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    source, (x, y) = load(seed)
    x_tr, y_tr, x_te, y_te = x[:650], y[:650], x[650:], y[650:]

    model = SmallCNN(5)
    pretrain(model, *source)

    # ---- fine-tuning -------------------------------------------------
    for p in model.parameters():
        p.requires_grad_(False)
        p.grad = None
    if fixed:
        model.fc = nn.Linear(model.fc.in_features, 5)
        optimizer = optim.SGD(model.fc.parameters(), lr=0.01, momentum=0.9)
    else:
        model.fc.requires_grad_(True)
        optimizer = optim.SGD(model.fc.parameters(), lr=0.01, momentum=0.9)
        model.fc = nn.Linear(model.fc.in_features, 5)

    losses = []
    with observe(model, optimizer):
        for epoch in range(15):
            model.train()
            perm = torch.randperm(len(x_tr))
            for i in range(0, len(perm), 26):
                pick = perm[i : i + 26]
                model.zero_grad()
                loss = F.cross_entropy(model(x_tr[pick]), y_tr[pick])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())

    model.eval()
    with torch.no_grad():
        accuracy = (model(x_te).argmax(1) == y_te).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": losses}
