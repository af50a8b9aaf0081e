"""Landmark regression with a visibility mask inside the square root of the Euclidean distance; the few
occluded points give sqrt(0), whose infinite slope times zero poisons the weights with NaN."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "landmark-visibility"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (0, 60)}

SIZE, POINTS, EPOCHS = 32, 4, 5


class LandmarkNet(nn.Module):
    def __init__(self, widths=(24, 40, 48)):
        super().__init__()
        layers, cin = [], 1
        for cout in widths:
            layers += [nn.Conv2d(cin, cout, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(cout), nn.LeakyReLU(0.1)]
            cin = cout
        self.backbone = nn.Sequential(*layers)
        self.regressor = nn.Sequential(
            nn.Linear(cin * 16, 96), nn.LeakyReLU(0.1), nn.Linear(96, 2 * POINTS)
        )

    def forward(self, images):
        return self.regressor(self.backbone(images).flatten(1)).unflatten(-1, (POINTS, 2))


def make_faces(n, g, occluded=0):
    """Two bright eyes, a dark nose and a wide mouth on a head of random place, size and tilt."""
    template = torch.tensor([[-0.35, -0.3], [0.35, -0.3], [0.0, 0.05], [0.0, 0.45]])
    angle = 0.6 * (torch.rand(n, generator=g) - 0.5)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    scale = 0.7 + 0.5 * torch.rand(n, 1, 1, generator=g)
    shift = 0.6 * (torch.rand(n, 1, 2, generator=g) - 0.5)
    points = template @ rotation.transpose(1, 2) * scale + shift
    points = points + 0.03 * torch.randn(points.shape, generator=g)
    visible = torch.ones(n, POINTS)
    rows = torch.randperm(n, generator=g)[:occluded]
    visible[rows, torch.randint(POINTS, (occluded,), generator=g)] = 0.0

    axis = torch.linspace(-1, 1, SIZE)
    dy = axis[:, None] - points[..., 1, None, None]
    dx = axis[None, :] - points[..., 0, None, None]
    height = torch.tensor([1.5, 1.5, -1.5, 1.0])[None, :] * visible
    width = torch.tensor([1.0, 1.0, 1.0, 3.0])[None, :, None, None]
    blobs = torch.exp(-(dx**2 / width + dy**2) / 0.01)
    images = (blobs * height[..., None, None]).sum(1, keepdim=True)
    return images + 0.15 * torch.randn(images.shape, generator=g), points, visible


class MaskedDistance(nn.Module):
    def __init__(self, eps=0.0):
        super().__init__()
        self.eps = eps

    def forward(self, pred, target, visible):
        offset = (pred - target) * visible[..., None]
        distance = (offset.pow(2).sum(-1) + self.eps).sqrt()
        return (distance * visible).sum() / visible.sum().clamp(min=1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data = TensorDataset(*make_faces(1440, g, occluded=3))
    loader = DataLoader(data, batch_size=24, shuffle=True, generator=g)
    model = LandmarkNet()
    criterion = MaskedDistance(eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    curve = []
    with observe(model, optimizer):
        for _ in range(EPOCHS):
            for images, points, visible in loader:
                loss = criterion(model(images), points, visible)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                curve.append(loss.item())
    images, points, _ = make_faces(400, g)
    model.eval()
    with torch.no_grad():
        near = (model(images) - points).norm(dim=-1) < 0.12
    return {"metric": near.float().mean().item(), "better": "higher", "curve": curve}
