"""Diagonal state-space layer (FFT convolution with the kernel C a^t B) on a long recall task: a cue at the start of the
sequence decides how the end is answered. Bug: the decay a is drawn from the middle of (0, 1) (sigmoid of a standard
normal) instead of the ring near 1; after 120 steps nothing of the cue, nor of its gradient, is left."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_ssm_recall"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["layers.0.ssm", "layers.1.ssm"],
    "onset": (0, 0),
}
T, K = 120, 6


class DiagSSM(nn.Module):
    def __init__(self, d, n, fixed):
        super().__init__()
        if fixed:
            a = 1 - torch.exp(torch.empty(d, n).uniform_(-6.9, -2.3))
            self.a_logit = nn.Parameter(torch.logit(a))
        else:
            self.a_logit = nn.Parameter(torch.randn(d, n))
        self.B = nn.Parameter(torch.randn(d, n) / n**0.5)
        self.C = nn.Parameter(torch.randn(d, n) / n**0.5)
        self.D = nn.Parameter(torch.ones(d))

    def forward(self, u):  # (b, t, d)
        L = u.shape[1]
        log_a = F.logsigmoid(self.a_logit)
        t = torch.arange(L, device=u.device)
        k = torch.einsum("dn,dnt->dt", self.B * self.C, torch.exp(log_a.unsqueeze(-1) * t))
        y = torch.fft.irfft(
            torch.fft.rfft(u.transpose(1, 2), 2 * L) * torch.fft.rfft(k, 2 * L), 2 * L
        )[..., :L]
        return y.transpose(1, 2) + self.D * u


class Layer(nn.Module):
    def __init__(self, d, fixed):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.ssm = DiagSSM(d, 8, fixed)
        self.glu = nn.Linear(d, 2 * d)

    def forward(self, x):
        return x + F.glu(self.glu(F.gelu(self.ssm(self.norm(x)))), -1)


class Net(nn.Module):
    def __init__(self, fixed, d=32):
        super().__init__()
        self.emb = nn.Embedding(12, d)
        self.layers = nn.ModuleList([Layer(d, fixed), Layer(d, fixed)])
        self.norm = nn.LayerNorm(d)
        self.out = nn.Linear(d, K)

    def forward(self, s):
        h = self.emb(s)
        for l in self.layers:
            h = l(h)
        return self.out(self.norm(h[:, -1]))


def batch(n, g):
    s = torch.randint(K, 11, (n, T), generator=g)  # distractors 6..10
    y = torch.randint(0, K, (n,), generator=g)
    pos = torch.randint(0, 8, (n,), generator=g)
    s[torch.arange(n), pos] = y
    s[:, -1] = 11  # "answer now"
    return s, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    model = Net(fixed)
    slow = [p for n, p in model.named_parameters() if "a_logit" in n]
    rest = [p for n, p in model.named_parameters() if "a_logit" not in n]
    opt = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.01}, {"params": slow, "lr": 1e-3, "weight_decay": 0.0}],
        lr=3e-3,
    )
    curve = []
    with observe(model, opt):
        for step in range(450):
            s, y = batch(32, g)
            loss = F.cross_entropy(model(s), y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        s, y = batch(600, g)
        acc = (model(s).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
