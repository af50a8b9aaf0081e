"""A shape classifier made ready for small batches by a helper that swaps every BatchNorm for a
GroupNorm of one channel per group, which after global pooling normalizes single numbers to zero
(forum threads about replacing BatchNorm recursively, "loss stays at ln(classes)")."""

import torch
from torch import nn

ID = "a-groupnorm-convert"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["head.2", "head"], "onset": 0}


def draw_shapes(n, size=16):
    """Noisy squares, crosses, rings, stripes and diagonals at random places and sizes."""
    labels = torch.randint(0, 5, (n,))
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = torch.zeros(n, 1, size, size)
    for i, label in enumerate(labels.tolist()):
        cy, cx = torch.randint(5, size - 5, (2,)).tolist()
        r = int(torch.randint(3, 6, ()))
        dy, dx = (yy - cy).abs(), (xx - cx).abs()
        box = (dy <= r) & (dx <= r)
        drawn = [
            box,
            box & ((dy <= 1) | (dx <= 1)),
            box & ((dy >= r - 1) | (dx >= r - 1)),
            box & (yy % 3 == 0),
            box & ((dy - dx).abs() <= 1),
        ][label]
        images[i, 0] = drawn.float()
    images = images + 0.25 * torch.randn_like(images)
    return (images - 0.2) / 0.45, labels


def conv_bn(cin, cout, kernel, stride=1):
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2)
    return [conv, nn.BatchNorm2d(cout), nn.ReLU()]


class ShapeNet(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.features = nn.Sequential(
            *conv_bn(1, 16, 3), *conv_bn(16, 32, 3, 2), *conv_bn(32, 64, 3, 2)
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *conv_bn(64, 64, 1), nn.Conv2d(64, classes, 1), nn.Flatten()
        )

    def forward(self, x):
        return self.head(self.features(x))


def batchnorm_to_groupnorm(module, channels_per_group):
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            groups = child.num_features // channels_per_group
            setattr(module, name, nn.GroupNorm(groups, child.num_features))
        else:
            batchnorm_to_groupnorm(child, channels_per_group)
    return module


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, y = draw_shapes(2000)
    x_test, y_test = draw_shapes(500)
    model = batchnorm_to_groupnorm(ShapeNet(), channels_per_group=8 if fixed else 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(4):
            for index in torch.randperm(len(x)).split(16):
                optimizer.zero_grad()
                loss = criterion(model(x[index]), y[index])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
