"""A small U-Net for cell segmentation whose dataset sorts image names as strings and mask names by
number, so most images are paired with another image's mask (the forum answer "check that your
images and masks are sorted alike")."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "a-unet-cells"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


def make_folder(n, size=32):
    """Two 'folders': name -> image with bright round cells, name -> mask of the cells."""
    images, masks = {}, {}
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for i in range(n):
        mask = torch.zeros(size, size)
        for _ in range(int(torch.randint(2, 5, ()))):
            cy, cx = torch.randint(4, size - 4, (2,))
            radius = 3 + 3 * torch.rand(())
            mask[(yy - cy) ** 2 + (xx - cx) ** 2 < radius**2] = 1.0
        shade = 0.3 * torch.sin(xx / 5 + 6 * torch.rand(()))
        images[f"cell_{i}.png"] = 0.8 * mask + shade + 0.3 * torch.randn(size, size)
        masks[f"cell_{i}_mask.png"] = mask
    return images, masks


class CellDataset(Dataset):
    def __init__(self, images, masks, natural_order):
        def number(name):
            return int(name.split("_")[1].split(".")[0])

        image_names = sorted(images, key=number) if natural_order else sorted(images)
        mask_names = sorted(masks, key=number)
        self.pairs = [(images[a], masks[b]) for a, b in zip(image_names, mask_names)]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        image, mask = self.pairs[i]
        return image.unsqueeze(0), mask.unsqueeze(0)


def double_conv(cin, cout):
    layers = [nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    layers += [nn.Conv2d(cout, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.down1, self.down2 = double_conv(1, c), double_conv(c, 2 * c)
        self.bottom = double_conv(2 * c, 4 * c)
        self.up2, self.conv2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), double_conv(4 * c, 2 * c)
        self.up1, self.conv1 = nn.ConvTranspose2d(2 * c, c, 2, 2), double_conv(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.up2(self.bottom(F.max_pool2d(b, 2)))
        x = self.up1(self.conv2(torch.cat([b, x], 1)))
        return self.out(self.conv1(torch.cat([a, x], 1)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    loader = DataLoader(CellDataset(*make_folder(320), fixed), batch_size=16, shuffle=True)
    test = DataLoader(CellDataset(*make_folder(96), True), batch_size=96)
    model = UNet()
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            model.train()
            for image, mask in loader:
                loss = F.binary_cross_entropy_with_logits(model(image), mask)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    image, mask = next(iter(test))
    with torch.no_grad():
        predicted = (model(image) > 0).float()
    dice = 2 * (predicted * mask).sum() / (predicted.sum() + mask.sum())
    return {"metric": dice.item(), "better": "higher", "curve": curve}
