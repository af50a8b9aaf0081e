"""A prototypical network learns from few-shot episodes over drawn glyphs. All batch norms were replaced by GroupNorm(32, C)
to be independent of the episode; in the flat projection head of 32 features each group holds one number, and the layer
returns its bias. The recipe is right for feature maps, which is why nobody looks at it."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_glyph_episodes"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["project", "project.1"], "onset": 0}


def norm(channels, groups=32):
    return nn.GroupNorm(groups, channels)


class Encoder(nn.Module):
    def __init__(self, head_groups):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            norm(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            norm(32),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.project = nn.Sequential(
            nn.Linear(32 * 16, 32), norm(32, head_groups), nn.ReLU(), nn.Linear(32, 24)
        )

    def forward(self, x):
        return self.project(self.features(x))


class GlyphWorld:
    def __init__(self, n_classes, gen):
        self.gen = gen
        raw = torch.rand(n_classes, 1, 5, 5, generator=gen)
        self.shapes = (
            F.interpolate(raw, size=(16, 16), mode="bilinear", align_corners=True) > 0.55
        ).float()

    def draw(self, classes, shots):
        g = self.shapes[classes].repeat_interleave(shots, 0)
        out = torch.empty_like(g)
        for i in range(len(g)):
            dy, dx = torch.randint(-2, 3, (2,), generator=self.gen).tolist()
            out[i] = torch.roll(g[i], (dy, dx), (1, 2))
        return out + 0.35 * torch.randn(out.shape, generator=self.gen)

    def episode(self, classes, way=5, shot=2, query=6):
        pick = classes[torch.randperm(len(classes), generator=self.gen)[:way]]
        x = self.draw(pick, shot + query).view(way, shot + query, 1, 16, 16)
        return (
            x[:, :shot].flatten(0, 1),
            x[:, shot:].flatten(0, 1),
            torch.arange(way).repeat_interleave(query),
        )


def logits_of(model, support, queries, way=5):
    z = model(torch.cat([support, queries]))
    proto = z[: len(support)].view(way, -1, z.shape[-1]).mean(1)
    return -torch.cdist(z[len(support) :], proto).pow(2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(23 + seed)
    world = GlyphWorld(80, gen)
    seen, unseen = torch.arange(60), torch.arange(60, 80)
    model = Encoder(4 if fixed else 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            support, queries, y = world.episode(seen)
            loss = F.cross_entropy(logits_of(model, support, queries), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    right = 0.0
    with torch.no_grad():
        for _ in range(40):
            support, queries, y = world.episode(unseen)
            right += (logits_of(model, support, queries).argmax(-1) == y).float().mean().item() / 40
    return {"metric": right, "better": "higher", "curve": curve}
