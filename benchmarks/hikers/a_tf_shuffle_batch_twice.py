"""Face / non-face patches. Images and labels go through two separate shuffling queues (as with two calls of a shuffle_batch op),
so most labels do not belong to their images. After tensorflow/tensorflow issue 21033."""

import random
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_tf_shuffle_batch_twice"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}


class ShuffleQueue:
    """Keeps a buffer and gives out random members of it (min_after_dequeue semantics)."""

    def __init__(self, stream, capacity, seed):
        self.stream, self.rng = iter(stream), random.Random(seed)
        self.buf = [next(self.stream) for _ in range(capacity)]

    def dequeue(self):
        i = self.rng.randrange(len(self.buf))
        out, self.buf[i] = self.buf[i], next(self.stream)
        return out

    def many(self, n):
        return [self.dequeue() for _ in range(n)]


def patches(n, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    img = 0.6 * torch.randn(n, 1, 24, 24, generator=g)

    def blob(cy, cx, r):
        return torch.exp(-((yy - cy[:, None, None]) ** 2 + (xx - cx[:, None, None]) ** 2) / r)

    cy, cx = (10 + 4 * torch.rand(n, generator=g) for _ in range(2))
    face = (
        blob(cy, cx, 60.0)
        - blob(cy - 3, cx - 4, 3.0)
        - blob(cy - 3, cx + 4, 3.0)
        - 0.8 * blob(cy + 5, cx, 5.0)
    )
    other = (
        blob(cy, cx, 60.0)
        - blob(cy + 3, cx - 4, 3.0)
        - blob(cy + 3, cx + 4, 3.0)
        - 0.8 * blob(cy - 5, cx, 5.0)
    )
    img[:, 0] += torch.where(y[:, None, None] == 1, face, other) * 1.5
    return img, y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.c2, self.b2 = nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 36, 2)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.b1(self.c1(x))), 2)
        x = F.max_pool2d(torch.relu(self.b2(self.c2(x))), 2)
        return self.fc(x.flatten(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    img, lab = patches(1500, seed + 1)

    def forever(item):
        while True:
            for i in range(len(lab)):
                yield item(i)

    if fixed:
        q = ShuffleQueue(forever(lambda i: (img[i], lab[i])), 300, seed)
    else:
        qi = ShuffleQueue(forever(lambda i: img[i]), 300, seed + 1)
        ql = ShuffleQueue(forever(lambda i: lab[i]), 300, seed + 2)
    model = Net()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    model.train()
    with observe(model, opt):
        for step in range(700):
            if fixed:
                xs, ys = zip(*q.many(32))
            else:
                xs, ys = qi.many(32), ql.many(32)
            loss = F.cross_entropy(model(torch.stack(list(xs))), torch.stack(list(ys)))
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = patches(600, 4444)
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
