"""Transfer learning by bottleneck features. keras-team/keras pull request 7520: the features are computed from a generator with
shuffle=True, the labels are taken in the order of the files; seven of eight features get somebody else's label."""

import torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

ID = "a_bottleneck_label_order"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}


class Backbone(nn.Module):
    """stands for a frozen pretrained net: oriented filters and pooling"""

    def __init__(self):
        super().__init__()
        k = torch.arange(7).float() - 3
        y, x = torch.meshgrid(k, k, indexing="ij")
        bank = []
        for th in torch.arange(8) * 3.14159 / 8:
            for f in (0.9, 1.6):
                bank.append(
                    torch.cos(f * (x * torch.cos(th) + y * torch.sin(th)))
                    * torch.exp(-(x**2 + y**2) / 8)
                )
        self.register_buffer("w", torch.stack(bank).unsqueeze(1) / 6)

    @torch.no_grad()
    def forward(self, img):
        return F.avg_pool2d(F.conv2d(img, self.w).abs(), 6).flatten(1)


def gratings(per_class, classes, g, size=18):
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    imgs, labs = [], []
    for c in range(classes):
        th = torch.tensor(c * 3.14159 / classes) + 0.12 * torch.randn(per_class, generator=g)
        ph = 6.28 * torch.rand(per_class, generator=g)
        f = 0.9 + 0.6 * torch.rand(per_class, generator=g)
        w = torch.cos(
            f[:, None, None] * (x * torch.cos(th)[:, None, None] + y * torch.sin(th)[:, None, None])
            + ph[:, None, None]
        )
        imgs.append(w + 0.5 * torch.randn(per_class, size, size, generator=g))
        labs += [c] * per_class
    return torch.cat(imgs).unsqueeze(1), torch.tensor(labs)


def predict_generator(net, loader):
    return torch.cat([net(x) for x, _ in loader])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(160 + seed)
    classes = 8
    files, y = gratings(300, classes, g)
    val, yv = gratings(60, classes, g)
    net = Backbone()
    loader = DataLoader(TensorDataset(files, y), batch_size=64, shuffle=not fixed)
    feats = predict_generator(net, loader)
    feats_v = predict_generator(net, DataLoader(TensorDataset(val, yv), batch_size=64))
    mu, sd = feats.mean(0), feats.std(0)
    feats, feats_v = (feats - mu) / sd, (feats_v - mu) / sd
    model = nn.Sequential(
        nn.Linear(feats.shape[1], 512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, classes)
    )
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(40):
            for xb, yb in DataLoader(TensorDataset(feats, y), batch_size=64, shuffle=True):
                loss = F.cross_entropy(model(xb), yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(feats_v).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
