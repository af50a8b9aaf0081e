"""Height-map mesh from an image, trained with a vertex loss plus a "triangle" smoothness term sqrt(1 - cos^2) between neighbouring faces. Where
two faces are exactly parallel the root is taken at 0 and its derivative is NaN. Reported as akanazawa/cmr issue #11 (triangle_loss_fn returns nan)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_cmr_triangle_loss"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (0, 1)}
G = 9


def grid_faces():
    f = []
    for i in range(G - 1):
        for j in range(G - 1):
            a, b, c, d = i * G + j, i * G + j + 1, (i + 1) * G + j, (i + 1) * G + j + 1
            f += [(a, b, c), (b, d, c)]
    return torch.tensor(f)


def edge_pairs(faces):
    owner = {}
    for k, f in enumerate(faces.tolist()):
        for e in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0])):
            owner.setdefault(tuple(sorted(e)), []).append(k)
    return torch.tensor([v for v in owner.values() if len(v) == 2])


class TriangleLoss:
    """flattens the mesh: penalises the sine between the normals of adjacent faces"""

    def __init__(self, faces, eps=0.0):
        self.faces, self.pairs, self.eps = faces, edge_pairs(faces), eps

    def __call__(self, verts):
        p = verts[:, self.faces]
        n = torch.cross(p[:, :, 1] - p[:, :, 0], p[:, :, 2] - p[:, :, 0], dim=-1)
        n = n / (n.norm(dim=-1, keepdim=True) + 1e-9)
        cos = (n[:, self.pairs[:, 0]] * n[:, self.pairs[:, 1]]).sum(-1)
        sin = torch.sqrt((1 - cos**2).clamp(min=0) + self.eps)
        return sin.mean()


class ShapePredictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.fc = nn.Linear(24 * 25, 64)
        self.pred_shape = nn.Linear(64, G * G)
        nn.init.normal_(self.pred_shape.weight, std=0.01)
        nn.init.zeros_(self.pred_shape.bias)
        y, x = torch.meshgrid(torch.linspace(-1, 1, G), torch.linspace(-1, 1, G), indexing="ij")
        self.register_buffer("xy", torch.stack([x.flatten(), y.flatten()], -1))

    def forward(self, img):
        z = self.pred_shape(F.relu(self.fc(self.encoder(img))))
        return torch.cat([self.xy.expand(len(img), -1, -1), z[..., None]], -1)


def render(n, g):
    """one bump on a flat ground; the image is a 17x17 shaded view of it"""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 17), torch.linspace(-1, 1, 17), indexing="ij")
    c = torch.rand(n, 2, 1, 1, generator=g) - 0.5
    r = 0.35 + 0.25 * torch.rand(n, 1, 1, generator=g)
    a = 0.4 + 0.6 * torch.rand(n, 1, 1, generator=g)
    h = a * (1 - ((x - c[:, 0]) ** 2 + (y - c[:, 1]) ** 2) / r**2).clamp(min=0)
    pad = F.pad(h, (1, 1, 1, 1))
    img = (
        h + 0.5 * (pad[:, 1:-1, 2:] - pad[:, 1:-1, :-2]) + 0.02 * torch.randn(h.shape, generator=g)
    )[:, None]
    return img, h[:, ::2, ::2].flatten(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    img, h = render(800, g)
    img_t, h_t = render(200, g)
    model = ShapePredictor()
    tri = TriangleLoss(grid_faces(), eps=1e-6 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999))
    curve = []
    with observe(model, optimizer):
        for step in range(1000):
            idx = torch.randint(0, 800, (16,))
            verts = model(img[idx])
            vert_loss = F.mse_loss(verts[..., 2], h[idx])
            loss = vert_loss + 0.0005 * tri(verts)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = F.mse_loss(model(img_t)[..., 2], h_t).sqrt().item()
    return {"metric": err, "better": "lower", "curve": curve}
