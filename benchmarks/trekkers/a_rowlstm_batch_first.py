"""Row-by-row LSTM on small digit-like images. yunjey/pytorch-tutorial issue 89: batch_first=True was deleted, and the input still
is (batch, rows, pixels): the recurrence runs over the images of the batch, and each row of the image is a 'sample'."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_rowlstm_batch_first"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, num_classes, batch_first):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=batch_first)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :])


SEG = {
    0: "abcdef",
    1: "bc",
    2: "abged",
    3: "abgcd",
    4: "fgbc",
    5: "afgcd",
    6: "afgedc",
    7: "abc",
    8: "abcdefg",
    9: "abcdfg",
}


def glyph(d):
    im = torch.zeros(14, 10)
    for s in SEG[d]:
        r, c = {
            "a": (slice(1, 2), slice(2, 8)),
            "g": (slice(6, 7), slice(2, 8)),
            "d": (slice(11, 12), slice(2, 8)),
            "f": (slice(1, 7), slice(2, 3)),
            "b": (slice(1, 7), slice(7, 8)),
            "e": (slice(6, 12), slice(2, 3)),
            "c": (slice(6, 12), slice(7, 8)),
        }[s]
        im[r, c] = 1
    return im


def digits(n, g):
    base = torch.stack([glyph(d) for d in range(10)])
    y = torch.randint(0, 10, (n,), generator=g)
    sh = torch.randint(-1, 2, (n, 2), generator=g).tolist()
    x = torch.stack([torch.roll(base[k], tuple(s), (0, 1)) for k, s in zip(y.tolist(), sh)])
    return x + 0.25 * torch.randn(x.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(200 + seed)
    X, Y = digits(3000, g)
    Xv, Yv = digits(600, g)
    model = RNN(10, 48, 1, 10, batch_first=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(16):
            for i in torch.randperm(len(Y)).split(50):
                loss = F.cross_entropy(model(X[i]), Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (
            sum(
                (model(Xv[k : k + 50]).argmax(1) == Yv[k : k + 50]).sum().item()
                for k in range(0, 600, 50)
            )
            / 600
        )
    return {"metric": acc, "better": "higher", "curve": curve}
