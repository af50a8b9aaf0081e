"""Speech: fine-tuning a phone recogniser (BiGRU, framewise labels) on an own corpus. feature_cmvn() computes E[x^2]-E[x]^2 and divides by its root without a guard: utterances
with a constant (muted) band give 0/0 = NaN features, the loss and then all weights become NaN. Reported as xinjli/allosaurus issue 64."""

import torch, torch.nn as nn, torch.nn.functional as F
import numpy as np

ID = "a_phone_cmvn"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (180, 219)}


def feature_cmvn(feature, fixed):
    frame_cnt = feature.shape[0]
    spk_sum = np.sum(feature, axis=0)
    spk_mean = spk_sum / frame_cnt
    if fixed:
        spk_std = np.std(feature, axis=0)
        spk_std += spk_std < 1e-6
    else:
        spk_std = np.sqrt(np.sum(feature * feature, axis=0) / frame_cnt - spk_mean * spk_mean)
    return (feature - spk_mean) / spk_std


class Recogniser(nn.Module):
    def __init__(self, n_mel=20, hid=32, phones=10):
        super().__init__()
        self.front = nn.Conv1d(n_mel, 24, 3, padding=1)
        self.blstm = nn.GRU(24, hid, batch_first=True, bidirectional=True)
        self.phone = nn.Linear(2 * hid, phones)

    def forward(self, x):
        h = F.relu(self.front(x.transpose(1, 2))).transpose(1, 2)
        return self.phone(self.blstm(h)[0])


PROTO = np.random.RandomState(123).randn(10, 20).astype(np.float32)


def utterance(rng, T=30, muted=False):
    lab = np.repeat(rng.integers(0, 10, T // 3), 3)
    feat = (
        PROTO[lab] * 1.2
        + rng.normal(0, 1.6, (T, 20)).astype(np.float32)
        + 3.0 * rng.normal(size=(1, 20)).astype(np.float32)
    )
    if muted:
        feat[:, 17:] = 0.0  # band-limited recording
    return feat.astype(np.float32), lab


def collate(utts, fixed):
    x = np.stack([feature_cmvn(f, fixed) for f, _ in utts])
    return torch.as_tensor(x), torch.as_tensor(np.stack([l for _, l in utts]))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    studio = [utterance(rng) for _ in range(400)]
    field = [utterance(rng, muted=rng.random() < 0.05) for _ in range(240)]
    net = Recogniser()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve = []
    with np.errstate(all="ignore"), observe(net, opt):
        for epoch in range(12):
            data = (
                studio if epoch < 9 * 1 else studio + field
            )  # the field recordings are added for the last epochs
            order = rng.permutation(len(data))
            for i in range(0, len(order) - 19, 20):
                x, y = collate([data[j] for j in order[i : i + 20]], fixed)
                loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with np.errstate(all="ignore"):
        x, y = collate([utterance(rng) for _ in range(100)], fixed)
    with torch.no_grad():
        out = net(x)
    acc = (out.argmax(2) == y).float().mean().item() if torch.isfinite(out).all() else 0.1
    return {"metric": acc, "better": "higher", "curve": curve}
