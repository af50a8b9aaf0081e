"""Traffic signs: before batching, features and labels are shuffled each with an order of its own, so labels no longer belong to the images. The quiz's check
does not notice. Reported as udacity/sdc-issue-reports issue 1326."""

import math, torch, torch.nn as nn, torch.nn.functional as F
import numpy as np

ID = "a_sign_shuffle"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}


class LeNet(nn.Module):
    def __init__(self, n_classes=7):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, 5, padding=2)
        self.fc1 = nn.Linear(16 * 4 * 4, 48)
        self.drop = nn.Dropout(0.2)
        self.fc2 = nn.Linear(48, n_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(self.drop(F.relu(self.fc1(x.flatten(1)))))


def make_signs(n, rng):
    y = rng.integers(0, 7, n)
    yy, xx = np.mgrid[0:16, 0:16]
    X = np.zeros((n, 3, 16, 16), np.float32)
    for i in range(n):
        cy, cx = rng.uniform(6, 9, 2)
        r, th = np.hypot(yy - cy, xx - cx), np.arctan2(yy - cy, xx - cx)
        k = y[i] % 4
        shape = [
            r < 5,
            np.maximum(abs(yy - cy), abs(xx - cx)) < 4.5,
            abs(yy - cy) + abs(xx - cx) < 6,
            (r < 5.5) & (np.cos(3 * th) > -0.4),
        ][k]
        col = np.array([[1, 0.1, 0.1], [0.1, 0.2, 1]][int(y[i] > 3)])
        X[i] = col[:, None, None] * shape * rng.uniform(0.6, 1.2)
    return X + rng.normal(0, 0.25, X.shape).astype(np.float32) - 0.2, y


def shuffle_together(X, y, rng):
    p = rng.permutation(len(X))
    return X[p], y[p]


def batches(batch_size, features, labels):
    assert len(features) == len(labels)
    return [
        (features[i : i + batch_size], labels[i : i + batch_size])
        for i in range(0, len(features), batch_size)
    ]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X, y = make_signs(1000, rng)
    if fixed:
        X, y = shuffle_together(X, y, rng)
    else:
        X, y = rng.permutation(X), rng.permutation(y)
    net = LeNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for epoch in range(24):
            for bx, by in batches(32, X, y):
                loss = F.cross_entropy(net(torch.as_tensor(bx)), torch.as_tensor(by))
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    X, y = make_signs(500, rng)
    with torch.no_grad():
        acc = (net(torch.as_tensor(X)).argmax(1) == torch.as_tensor(y)).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
