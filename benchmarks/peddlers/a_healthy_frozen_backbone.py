"""HEALTHY. Transfer as in the autograd tutorial: a pretrained backbone with requires_grad=False, ALL parameters handed to the optimizer, only fc trains
(the wording was changed back and forth in pytorch/tutorials pull requests 1306 and 1455). SGD with a small learning rate, smooth slow curve."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_frozen_backbone"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class AudioNet(nn.Module):
    def __init__(self, n_out):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, 9, 4, 4)
        self.conv2 = nn.Conv1d(16, 32, 5, 2, 2)
        self.conv3 = nn.Conv1d(32, 48, 3, 2, 1)
        self.fc = nn.Linear(48, n_out)

    def forward(self, x):
        x = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
        return self.fc(x.mean(2))


def tones(n, freqs, g, T=128):
    y = torch.randint(0, len(freqs), (n,), generator=g)
    t = torch.arange(T)[None].float()
    f = torch.tensor(freqs)[y][:, None]
    x = torch.sin(f * t + 6.28 * torch.rand(n, 1, generator=g)) * (
        0.7 + 0.6 * torch.rand(n, 1, generator=g)
    ) + 0.4 * torch.randn(n, T, generator=g)
    return x.unsqueeze(1), y


def pretrain(seed):
    g = torch.Generator().manual_seed(seed + 900)
    net = AudioNet(8)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(250):
        x, y = tones(48, [0.1, 0.25, 0.4, 0.6, 0.8, 1.1, 1.4, 1.8], g)
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    return net


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 70)
    net = pretrain(seed)
    for p in net.parameters():
        p.requires_grad = False
    net.fc = nn.Linear(48, 4)
    opt = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
    x, y = tones(800, [0.17, 0.5, 0.95, 1.6], g)
    curve = []
    with observe(net, opt):
        for epoch in range(40):
            for idx in torch.randperm(len(y)).split(32):
                loss = F.cross_entropy(net(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    x, y = tones(500, [0.17, 0.5, 0.95, 1.6], g)
    with torch.no_grad():
        acc = (net(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
