"""A CNN tells circles, crosses, bars and rings apart in 12x12 pictures kept in numpy arrays.
After every epoch the generator reshuffles the pictures in place, but not the labels."""

import numpy as np
import torch
from torch import nn

ID = "reshuffle_pictures_only"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 50}


def draw(kind, rs):
    yy, xx = np.mgrid[0:12, 0:12]
    cy, cx = rs.uniform(4, 7, 2)
    r = np.hypot(yy - cy, xx - cx)
    if kind == 0:
        img = r < 3.2
    elif kind == 1:
        img = ((abs(yy - cy) < 1) | (abs(xx - cx) < 1)) & (r < 4.5)
    elif kind == 2:
        img = (abs(yy - cy) < 1.2) & (abs(xx - cx) < 4.5)
    else:
        img = (r < 4.2) & (r > 2.6)
    return img + rs.normal(0, 0.35, (12, 12)) - 0.2


def dataset(n, rs):
    labels = rs.randint(0, 4, n)
    pictures = np.stack([draw(k, rs) for k in labels]).astype(np.float32)
    return pictures[:, None], labels.astype(np.int64)


class Generator:
    """Keras-like batch generator."""

    def __init__(self, x, y, batch_size, rs, shuffle_together):
        self.x, self.y = x.copy(), y.copy()
        self.batch_size, self.rs = batch_size, rs
        self.shuffle_together = shuffle_together

    def __len__(self):
        return len(self.x) // self.batch_size

    def __getitem__(self, i):
        s = slice(i * self.batch_size, (i + 1) * self.batch_size)
        return torch.from_numpy(self.x[s]), torch.from_numpy(self.y[s])

    def on_epoch_end(self):
        if self.shuffle_together:
            p = self.rs.permutation(len(self.x))
            self.x, self.y = self.x[p], self.y[p]
        else:
            self.rs.shuffle(self.x)


def build():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 9, 48),
        nn.GELU(),
        nn.Linear(48, 4),
    )


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rs = np.random.RandomState(seed)
    x, y = dataset(1600, rs)
    x_test, y_test = dataset(600, rs)
    gen = Generator(x, y, 32, rs, shuffle_together=fixed)
    model = build()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    curve = []

    with observe(model, optimizer):
        for epoch in range(11):
            for i in range(len(gen)):
                xb, yb = gen[i]
                optimizer.zero_grad()
                loss = criterion(model(xb), yb)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            gen.on_epoch_end()

    with torch.no_grad():
        guess = model(torch.from_numpy(x_test)).argmax(1).numpy()
    return {"metric": float((guess == y_test).mean()), "better": "higher", "curve": curve}
