"""A frozen float16 question-answering backbone gets a new float16 feature extractor, trained by Adam with its default eps: 1e-8 and the small second moments are
both 0 in float16, so the first step divides by zero. Reported as pytorch/pytorch issue #147437 (a new branch for BLIP-2's Q-former)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_qformer_fp16_adam"
TRUTH = {
    "mechanisms": ["half_precision_underflow"],
    "layers": ["extractor", "extractor.patch", "extractor.proj", "extractor.mix"],
    "onset": (0, 0),
}
D, CLS = 48, 5


def clips(n, g):
    y = torch.randint(0, CLS, (n,), generator=g)
    dirs = torch.randn(CLS, 16, generator=torch.Generator().manual_seed(5))
    x = dirs[y][:, None] * (torch.rand(n, 6, 1, generator=g) < 0.5) + 0.8 * torch.randn(
        n, 6, 16, generator=g
    )
    return x, y


class Extractor(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.mix, self.proj = nn.Linear(16, D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x):
        h = F.gelu(self.patch(x))
        return self.proj(F.gelu(self.mix(h)) + h)


class QFormer(nn.Module):
    """learned queries read the tokens; frozen"""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, D) * 0.5)
        self.k, self.v = nn.Linear(D, D), nn.Linear(D, D)
        self.answer = nn.Linear(2 * D, CLS)

    def forward(self, tok):
        a = (self.query @ self.k(tok).transpose(1, 2) / D**0.5).softmax(-1)
        return self.answer((a @ self.v(tok)).flatten(1))


class VideoQA(nn.Module):
    def __init__(self):
        super().__init__()
        self.extractor = Extractor()
        self.qformer = QFormer()

    def forward(self, x):
        return self.qformer(self.extractor(x))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = clips(2000, g)
    xt, yt = clips(400, g)
    model = VideoQA().half()
    model.qformer.requires_grad_(False)
    optimizer = torch.optim.Adam(model.extractor.parameters(), lr=1e-3, eps=1e-4 if fixed else 1e-8)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            idx = torch.randint(0, 2000, (32,))
            logits = model(x[idx].half())
            loss = F.cross_entropy(logits.float(), y[idx])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = model(xt.half())
        acc = (p.argmax(1) == yt).float().mean().item()
        nll = F.cross_entropy(p.float(), yt).item()
    return {"metric": nll if nll != nll else acc, "better": "higher", "curve": curve}
