"""SegNet-like encoder/decoder (max-unpooling) on synthetic street scenes. The training loop passes the decoder's softmax output,
not its scores, to CrossEntropyLoss. Reported as say4n/pytorch-segnet issue #5 (fix there: use predicted_tensor)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_segnet_double_softmax"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
NUM_CLASSES = 7


def street_scenes(n, g, size=24):
    """sky, road, building, car, tree, pole, marking"""
    img = torch.zeros(n, 3, size, size)
    lab = torch.zeros(n, size, size, dtype=torch.long)
    colour = torch.tensor(
        [
            [0.55, 0.7, 0.9],
            [0.35, 0.35, 0.4],
            [0.6, 0.45, 0.4],
            [0.7, 0.2, 0.2],
            [0.25, 0.5, 0.25],
            [0.45, 0.4, 0.35],
            [0.8, 0.8, 0.75],
        ]
    )
    for i in range(n):
        h = int(torch.randint(9, 14, (1,), generator=g))
        lab[i, h:] = 1
        for _ in range(2):
            x, w, t = (
                int(torch.randint(a, b, (1,), generator=g)) for a, b in ((0, 18), (4, 8), (2, 7))
            )
            lab[i, t:h, x : x + w] = 2
        x = int(torch.randint(0, 18, (1,), generator=g))
        lab[i, h - 5 : h, x : x + 4] = 4
        x = int(torch.randint(0, 17, (1,), generator=g))
        lab[i, h + 2 : h + 6, x : x + 6] = 3
        x = int(torch.randint(1, 22, (1,), generator=g))
        lab[i, h - 7 : h + 1, x : x + 2] = 5
        x = int(torch.randint(4, 18, (1,), generator=g))
        lab[i, h + 7 :, x : x + 2] = 6
    img = colour[lab].permute(0, 3, 1, 2) + 0.12 * torch.randn(img.shape, generator=g)
    return img, lab


class SegNet(nn.Module):
    def __init__(self, in_ch=3, out_ch=NUM_CLASSES):
        super().__init__()
        self.encoder_conv_00 = nn.Sequential(nn.Conv2d(in_ch, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.encoder_conv_10 = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32))
        self.decoder_convtr_10 = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, padding=1), nn.BatchNorm2d(16)
        )
        self.decoder_convtr_00 = nn.ConvTranspose2d(16, out_ch, 3, padding=1)

    def forward(self, x):
        x0 = F.relu(self.encoder_conv_00(x))
        d0 = x0.size()
        x0, i0 = F.max_pool2d(x0, 2, 2, return_indices=True)
        x1 = F.relu(self.encoder_conv_10(x0))
        d1 = x1.size()
        x1, i1 = F.max_pool2d(x1, 2, 2, return_indices=True)
        y = F.max_unpool2d(x1, i1, 2, 2, output_size=d1)
        y = F.relu(self.decoder_convtr_10(y))
        y = F.max_unpool2d(y, i0, 2, 2, output_size=d0)
        predicted = self.decoder_convtr_00(y)
        return predicted, F.softmax(predicted, dim=1)


def mean_iou(pred, lab):
    out = []
    for c in range(NUM_CLASSES):
        u = ((pred == c) | (lab == c)).sum()
        if u:
            out.append(((pred == c) & (lab == c)).sum() / u)
    return float(torch.stack(out).mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    X, Y = street_scenes(240, g)
    Xt, Yt = street_scenes(60, g)
    model = SegNet()
    counts = torch.bincount(Y.flatten(), minlength=NUM_CLASSES).float()
    criterion = nn.CrossEntropyLoss(weight=(1 / counts.sqrt()) / (1 / counts.sqrt()).mean())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for epoch in range(25):
            for idx in torch.randperm(len(X)).split(16):
                predicted_tensor, softmaxed_tensor = model(X[idx])
                optimizer.zero_grad()
                loss = criterion(predicted_tensor if fixed else softmaxed_tensor, Y[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = mean_iou(model(Xt)[0].argmax(1), Yt)
    return {"metric": metric, "better": "higher", "curve": curve}
