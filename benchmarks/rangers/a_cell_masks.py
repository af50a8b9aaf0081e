"""Small fully convolutional network that segments cells, with random flips as augmentation. As in github.com/fastai/fastai issue 245
('Random transformation not respecting Y, especially in context of Y being a mask', and albumentations issue 1056) the random transform is
called once on the picture and once on the mask, so each draws its own flips and the two no longer match.
"""

import numpy as np
import torch
from torch import nn

ID = "a_cell_masks"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


class RandomFlips:
    def __init__(self, rng):
        self.rng = rng

    def draw(self):
        return self.rng.random() < 0.5, self.rng.random() < 0.5

    def apply(self, a, how):
        if how[0]:
            a = a[..., ::-1]
        if how[1]:
            a = a[..., ::-1, :]
        return np.ascontiguousarray(a)

    def __call__(self, a):
        return self.apply(a, self.draw())


def slides(n, rng):
    yy, xx = np.mgrid[0:24, 0:24].astype(np.float32)
    imgs, masks = [], []
    for _ in range(n):
        img = rng.normal(0, 0.35, (1, 24, 24)).astype(np.float32)
        m = np.zeros((1, 24, 24), np.float32)
        for _ in range(rng.integers(1, 4)):
            cy, cx, r = rng.uniform(3, 21), rng.uniform(3, 21), rng.uniform(2.5, 5)
            m[0] = np.maximum(m[0], ((yy - cy) ** 2 + (xx - cx) ** 2 < r * r))
        imgs.append(img + m * 1.0)
        masks.append(m)
    return imgs, masks


class CellDataset(torch.utils.data.Dataset):
    def __init__(self, imgs, masks, transform, together):
        self.imgs, self.masks, self.transform, self.together = imgs, masks, transform, together

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, i):
        if self.together:
            how = self.transform.draw()
            a, b = self.transform.apply(self.imgs[i], how), self.transform.apply(self.masks[i], how)
        else:
            a, b = self.transform(self.imgs[i]), self.transform(self.masks[i])
        return torch.from_numpy(a), torch.from_numpy(b)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = CellDataset(*slides(320, rng), RandomFlips(rng), fixed)
    vi, vm = slides(100, rng)
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=4, dilation=4),
        nn.ReLU(),
        nn.Conv2d(16, 1, 1),
    )
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for epoch in range(18):
            for img, mask in loader:
                loss = criterion(model(img), mask)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p = torch.sigmoid(model(torch.from_numpy(np.stack(vi)))) > 0.5
        t = torch.from_numpy(np.stack(vm)) > 0.5
        iou = ((p & t).sum() / (p | t).sum().clamp(min=1)).item()
    return {"metric": iou, "better": "higher", "curve": curve}
