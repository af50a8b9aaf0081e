"""Speech enhancement by masking, trained on a correlation (STOI-like) objective. Band norms are a bare square root of a sum of squares,
and shards from step 270 on contain files with digital silence: the root's derivative at 0 is infinite, gradients become NaN.
Re-enacts mpariente/pytorch_stoi issue 7 (NaN when back-propagating, EPS missing)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_stoi_enhance"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (270, 271)}
BANDS, T = 15, 40


class MaskNet(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.inp = nn.Conv1d(BANDS, h, 5, padding=2)
        self.mid = nn.Conv1d(h, h, 5, padding=4, dilation=2)
        self.mask = nn.Conv1d(h, BANDS, 1)

    def forward(self, noisy):
        h = F.relu(self.inp(torch.log1p(noisy)))
        h = h + F.relu(self.mid(h))
        return noisy * torch.sigmoid(self.mask(h))


def row_norm(x, eps):
    return torch.sqrt((x**2).sum(-1, keepdim=True) + eps)


def stoi_loss(est, clean, seg=10, eps=0.0):
    e, c = est.unfold(-1, seg, seg), clean.unfold(-1, seg, seg)  # N, band, segment, seg
    e, c = e - e.mean(-1, keepdim=True), c - c.mean(-1, keepdim=True)
    e = e / (row_norm(e, eps) + 1e-8)
    c = c / (row_norm(c, eps) + 1e-8)
    return 1 - (e * c).sum(-1).mean()


def speech(n, g, pause=False):
    env = F.interpolate(torch.rand(n, 1, 8, generator=g), size=T, mode="linear").clamp_min(0.02)
    formant = torch.softmax(3 * torch.randn(n, BANDS, 10, generator=g), 1)
    clean = env * F.interpolate(formant, size=T, mode="linear") * 5
    clicks = (
        torch.rand(n, 1, T, generator=g) < 0.15
    ).float() * 2.0  # broadband clicks plus a floor
    noise = clicks * (0.5 + torch.rand(n, BANDS, T, generator=g)) + 0.02 * torch.rand(
        n, BANDS, T, generator=g
    )
    noisy = clean + noise
    if pause:  # muted microphone: exact zeros in the whole first second
        clean[:3, :, :20] = 0.0
        noisy[:3, :, :20] = 0.0
    return noisy, clean


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = MaskNet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    eps = 1e-6 if fixed else 0.0
    curve, shard = [], 0
    with observe(model, opt):
        for shard in range(8):
            for i in range(90):
                noisy, clean = speech(16, g, pause=shard >= 3)
                loss = stoi_loss(model(noisy), clean, eps=eps)
                opt.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                curve.append(loss.item())
    noisy, clean = speech(300, torch.Generator().manual_seed(5))
    with torch.no_grad():
        score = 1 - stoi_loss(model(noisy), clean, eps=1e-6).item()
    return {"metric": score, "better": "higher", "curve": curve}
