"""Hand-written LSTM that labels electricity-meter traces by which appliance cycles in them (4 classes).
Bug: the author's init draws the recurrent and input kernels with std 1 (the fan-in division is lost), so all gates
sit on the flat parts of sigmoid/tanh from the first step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lstm_gate_scale"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["cell", "cell.gates"],
    "onset": (0, 0),
}


class Gates(nn.Module):
    """All four gate pre-activations from [x, h]."""

    def __init__(self, n_in, n_hid, gain):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(n_in + n_hid, 4, n_hid) * gain)
        self.bias = nn.Parameter(torch.zeros(4, n_hid))
        with torch.no_grad():
            self.bias[1].fill_(1.0)

    def forward(self, xh):
        z = torch.einsum("bi,igh->bgh", xh, self.kernel) + self.bias
        i, f, o = torch.sigmoid(z[:, 0]), torch.sigmoid(z[:, 1]), torch.sigmoid(z[:, 2])
        return i, f, o, torch.tanh(z[:, 3])


class LSTMCell(nn.Module):
    def __init__(self, n_in, n_hid, gain):
        super().__init__()
        self.gates = Gates(n_in, n_hid, gain)

    def forward(self, x, state):
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], -1))
        c = f * c + i * g
        return o * torch.tanh(c), c


class MeterNet(nn.Module):
    def __init__(self, n_in=4, n_emb=24, n_hid=64, n_cls=4, fixed=False):
        super().__init__()
        self.n_hid = n_hid
        self.embed = nn.Parameter(torch.randn(n_in, n_emb) / math.sqrt(n_in))
        gain = 1.0 / math.sqrt(n_emb + n_hid) if fixed else 1.0
        self.cell = LSTMCell(n_emb, n_hid, gain)
        self.head_w = nn.Parameter(torch.randn(n_hid, n_cls) / math.sqrt(n_hid))
        self.head_b = nn.Parameter(torch.zeros(n_cls))

    def forward(self, x):  # x: B, T, C
        e = x @ self.embed
        h = x.new_zeros(x.shape[0], self.n_hid)
        c = torch.zeros_like(h)
        for t in range(x.shape[1]):
            h, c = self.cell(e[:, t], (h, c))
        return h @ self.head_w + self.head_b


def traces(n, g, T=32):
    y = torch.randint(0, 4, (n,), generator=g)
    t = torch.arange(T).float()
    period = torch.tensor([6.0, 8.0, 11.0, 15.0])[y]
    phase = torch.rand(n, 1, generator=g) * 6.28
    s = torch.sin(6.2832 * t / period[:, None] + phase)
    s = s + 0.7 * torch.randn(n, T, generator=g)
    return s.view(n, T // 4, 4), y


def cross_entropy(logits, y):
    return (torch.logsumexp(logits, -1) - logits.gather(1, y[:, None])[:, 0]).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 100)
    xs, ys = traces(4096, g)
    xt, yt = traces(1024, g)
    model = MeterNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, len(xs), (64,), generator=g)
            loss = cross_entropy(model(xs[idx]), ys[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
