"""Optical flow from a correlation volume; gradients are cleared by looping over a spent filter()."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "flow-net-spent-parameter-filter"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": 1}


def smooth_noise(n, size, g):
    x = torch.randn(n, 1, size, size, generator=g)
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    kernel = (kernel[:, None] * kernel[None]).view(1, 1, 5, 5)
    x = F.conv2d(F.conv2d(x, kernel, padding=2), kernel, padding=2)
    return x / x.std(dim=(2, 3), keepdim=True)


def frame_pairs(n, g, size=24, max_shift=3.0):
    """Textures with zoom and translation; the flow is in pixels of the first frame."""
    texture = smooth_noise(n, 2 * size, g)
    shift = (torch.rand(n, 1, 1, 2, generator=g) * 2 - 1) * max_shift
    zoom = torch.randn(n, 1, 1, 1, generator=g) * 0.04
    axis = torch.arange(size) - (size - 1) / 2
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).unsqueeze(0)
    flow = shift + zoom * grid
    first = F.grid_sample(texture, (grid / size).expand(n, -1, -1, -1), align_corners=False)
    second = F.grid_sample(texture, (grid - flow) / size, align_corners=False)
    return first, second, flow.permute(0, 3, 1, 2)


class FlowNet(nn.Module):
    def __init__(self, dim=16, radius=2):
        super().__init__()
        self.radius = radius
        self.features = nn.Sequential(
            nn.Conv2d(1, dim, 5, padding=2, stride=2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(dim, dim, 3, padding=1),
        )
        taps = (2 * radius + 1) ** 2
        self.estimator = nn.Sequential(
            nn.Conv2d(taps + dim, 32, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 2, 3, padding=1),
        )

    def forward(self, first, second):
        a, b = self.features(first), self.features(second)
        r, (h, w) = self.radius, a.shape[-2:]
        padded = F.pad(b, (r, r, r, r))
        volume = [
            (a * padded[:, :, i : i + h, j : j + w]).mean(1)
            for i in range(2 * r + 1)
            for j in range(2 * r + 1)
        ]
        flow = self.estimator(torch.cat([torch.stack(volume, 1), a], 1))
        return F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def endpoint_error(flow, target):
    return ((flow - target).pow(2).sum(1) + 1e-6).sqrt().mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    heldout = frame_pairs(100, g)
    model = FlowNet()
    trainable = filter(lambda p: p.requires_grad, model.parameters())
    if fixed:
        trainable = list(trainable)
    optimizer = torch.optim.Adamax(trainable, lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            first, second, flow = frame_pairs(16, g)
            loss = endpoint_error(model(first, second), flow)
            for p in trainable:  # cheaper than optimizer.zero_grad()
                p.grad = None
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        epe = endpoint_error(model(*heldout[:2]), heldout[2]).item()
    return {"metric": epe, "better": "lower", "curve": curve}
