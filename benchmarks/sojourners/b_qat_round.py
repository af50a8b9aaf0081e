"""Quantization-aware training: a float warm-up, then 2-bit weights from step 300 on (as after torch.ao's enable_fake_quant).
Bug: the fake quantizer uses torch.round without the straight-through trick, so the quantized weights have
zero gradient from then on (their biases and the float output layer still learn)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_qat_round"
QSTEP = 300
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["conv1", "conv2", "fc"],
    "onset": (QSTEP, QSTEP + 1),
}


class STERound(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


def fake_quant(w, bits, ste):
    q = 2 ** (bits - 1) - 1
    s = w.detach().abs().amax() / (q + 0.5)
    r = STERound.apply(w / s) if ste else torch.round(w / s)
    return r.clamp(-q - 1, q) * s


class QMixin:
    quant = False
    ste = True
    bits = 2

    def qweight(self):
        return fake_quant(self.weight, self.bits, self.ste) if self.quant else self.weight


class QConv1d(nn.Conv1d, QMixin):
    def forward(self, x):
        return F.conv1d(x, self.qweight(), self.bias, self.stride, self.padding)


class QLinear(nn.Linear, QMixin):
    def forward(self, x):
        return F.linear(x, self.qweight(), self.bias)


class KeywordNet(nn.Module):
    def __init__(self, n_cls=8):
        super().__init__()
        self.conv1 = QConv1d(10, 24, 3, padding=1)
        self.conv2 = QConv1d(24, 24, 3, padding=1)
        self.fc = QLinear(24, 48)
        self.out = nn.Linear(48, n_cls)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool1d(F.relu(self.conv2(x)), 2)
        return self.out(F.relu(self.fc(x.mean(-1))))


def enable_quant(model, ste):
    for m in model.modules():
        if isinstance(m, QMixin):
            m.quant, m.ste = True, ste


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(3)
    protos = torch.randn(8, 10, 5, generator=g)

    def batch(n):
        y = torch.randint(8, (n,))
        x = 0.7 * torch.randn(n, 10, 24)
        off = torch.randint(0, 19, (n,))
        idx = off[:, None] + torch.arange(5)
        x.scatter_add_(2, idx[:, None].expand(n, 10, 5), protos[y] * 0.9)
        return x, y

    xt, yt = batch(1000)
    model = KeywordNet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(900):
            if step == QSTEP:
                enable_quant(model, ste=fixed)
            x, y = batch(48)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = (model(xt).argmax(1) != yt).float().mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
