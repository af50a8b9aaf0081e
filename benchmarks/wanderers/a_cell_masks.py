"""A small encoder-decoder with a skip connection segments bright cells in noisy microscope pictures, with a Dice plus BCE loss.
Random flips and transpositions are drawn anew for the picture and for its mask, so seven of eight masks no longer lie over their picture.
It happens when the augmentation sits in two separate transform pipelines of the data set."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_cell_masks"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

SIZE = 24


def cells(count, g):
    axis = torch.arange(SIZE).float()
    mask = torch.zeros(count, SIZE, SIZE)
    for _ in range(3):
        cy, cx = torch.rand(2, count, 1, 1, generator=g) * SIZE
        ry, rx = 2 + 2.5 * torch.rand(2, count, 1, 1, generator=g)
        mask = torch.maximum(
            mask, ((((axis[:, None] - cy) / ry) ** 2 + ((axis[None] - cx) / rx) ** 2) < 1).float()
        )
    texture = F.avg_pool2d(torch.randn(count, 1, SIZE, SIZE, generator=g), 3, 1, 1)[:, 0]
    image = 0.8 * mask + texture + 0.35 * torch.randn(count, SIZE, SIZE, generator=g)
    return image[:, None], mask[:, None]


class Seg(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.down2 = nn.Sequential(
            nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.mid = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.up = nn.ConvTranspose2d(24, 12, 2, 2)
        self.last = nn.Conv2d(24, 1, 3, padding=1)

    def forward(self, x):
        a = self.down1(x)
        b = self.up(self.mid(self.down2(a)))
        return self.last(torch.cat([a, b], 1))


def augment(x, coin):
    if coin[0] < 0.5:
        x = x.flip(-1)
    if coin[1] < 0.5:
        x = x.flip(-2)
    if coin[2] < 0.5:
        x = x.transpose(-1, -2)
    return x


def dice_bce(logits, mask):
    p = torch.sigmoid(logits)
    inter = (p * mask).sum((1, 2, 3))
    dice = 1 - (2 * inter + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
    return dice.mean() + F.binary_cross_entropy_with_logits(logits, mask)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(900 + seed)
    images, masks = cells(700, g)
    test_images, test_masks = cells(150, g)
    model = Seg()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)

    def batch():
        xs, ys = [], []
        for i in torch.randint(0, len(images), (16,), generator=g).tolist():
            coin, other = torch.rand(2, 3, generator=g)
            xs.append(augment(images[i], coin))
            ys.append(augment(masks[i], coin if fixed else other))
        return torch.stack(xs), torch.stack(ys)

    curve = []
    with observe(model, optimizer):
        for _ in range(350):
            x, y = batch()
            loss = dice_bce(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        hit = model(test_images) > 0
        true = test_masks > 0.5
        iou = ((hit & true).sum() / (hit | true).sum().clamp(min=1)).item()
    return {"metric": iou, "better": "higher", "curve": curve}
