"""Object-centric autoencoder: an attention net segments the scene into slots (with label hints), a component net redraws image and masks.
The mask term compares the redrawn masks (N,H,W,K) with the attention's masks in (N,W,H,K) order, i.e. with their transpose.
After stelzner/monet issue 1."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_monet_mask_transposed"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
K, S = 3, 16


class AttentionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, K, 1),
        )

    def forward(self, x):
        return self.net(x).softmax(1)


class Component(nn.Module):
    """Convolutional autoencoder with a narrow middle, one pass for each slot."""

    def __init__(self, z=4):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(4, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, z, 3, stride=2, padding=1),
        )
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(z, 24, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 4, 3, padding=1),
        )

    def forward(self, x, m):
        out = self.dec(self.enc(torch.cat([x, m], 1)))
        return out[:, :3], out[:, 3]


class Monet(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.component = AttentionNet(), Component()

    def forward(self, x):
        masks = self.attention(x)
        parts = [self.component(x, masks[:, k : k + 1]) for k in range(K)]
        rgb = torch.stack([p[0] for p in parts], 1)
        redrawn = torch.stack([p[1] for p in parts], -1).log_softmax(-1)  # N,H,W,K
        return masks, rgb, redrawn


def scenes(n, g):
    yy, xx = torch.meshgrid(torch.arange(S + 0.0), torch.arange(S + 0.0), indexing="ij")
    img, lab = torch.full((n, 3, S, S), 0.1), torch.zeros(n, S, S, dtype=torch.long)
    for c in range(2):
        cy, cx = 3 + 10 * torch.rand(2, n, 1, 1, generator=g)
        hit = ((yy - cy).abs() < 3) & ((xx - cx).abs() < 2.5)
        color = torch.zeros(3)
        color[c] = 0.9
        lab[hit] = c + 1
        img = torch.where(hit[:, None], color.view(1, 3, 1, 1), img)
    return img + 0.02 * torch.randn(img.shape, generator=g), lab


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    model = Monet()
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    curve = []

    def terms(x, lab, transposed):
        masks, rgb, redrawn = model(x)
        image = ((x[:, None] - rgb) ** 2 * masks[:, :, None]).sum((1, 2)).mean()
        order = (0, 3, 2, 1) if transposed else (0, 2, 3, 1)
        seg = F.kl_div(redrawn, masks.permute(*order), reduction="none").sum(-1).mean()
        return image, seg, F.nll_loss(masks.clamp(min=1e-6).log(), lab)

    with observe(model, opt):
        for step in range(450):
            image, seg, hint = terms(*scenes(24, g), transposed=not fixed)
            loss = 10 * image + seg + hint
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        image, seg, hint = terms(*scenes(200, torch.Generator().manual_seed(61)), transposed=False)
    return {"metric": (10 * image + seg + hint).item(), "better": "lower", "curve": curve}
