"""Visual question answering by attention over the cells of a feature map. The map (B, C, 4, 4) is brought to (B, 16, C) by view() without permute(), so every "pixel" is
a mix of places of one channel. Reported as fawazsammani/knowing-when-to-look-adaptive-attention issue #6. Not a mechanism of the list."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_adaptive_attention_view"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
COL, OBJ = 6, 5


def scenes(n, g):
    """16 cells with an object of some colour each, given as noisy 4x4-pixel glyphs; question: which colour has object k (k occurs once)?"""
    glyph = (torch.rand(OBJ, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    q = torch.randint(0, OBJ, (n,), generator=g)
    obj = torch.randint(0, OBJ - 1, (n, 16), generator=g)
    obj = obj + (obj >= q[:, None]).long()
    where = torch.randint(0, 16, (n,), generator=g)
    obj[torch.arange(n), where] = q
    col = torch.randint(0, COL, (n, 16), generator=g)
    rgb = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1.0]])
    cell = glyph[obj][:, :, None] * rgb[col][..., None, None]  # n,16,3,4,4
    img = cell.view(n, 4, 4, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, 16, 16)
    return img + 0.1 * torch.randn(img.shape, generator=g), q, col[torch.arange(n), where]


class EncoderCNN(nn.Module):
    def __init__(self, c=48, permute=False):
        super().__init__()
        self.permute = permute
        self.cnn = nn.Sequential(nn.Conv2d(3, c, 4, 4), nn.ReLU(), nn.Conv2d(c, c, 1), nn.ReLU())

    def forward(self, images):
        f = self.cnn(images)
        b, c, h, w = f.shape
        if self.permute:
            f = f.permute(0, 2, 3, 1)
        return f.reshape(b, h * w, c)


class AttentiveAnswerer(nn.Module):
    def __init__(self, permute, c=48):
        super().__init__()
        self.encoder = EncoderCNN(c, permute)
        self.question = nn.Embedding(OBJ, c)
        self.w_v, self.w_g, self.w_h = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, 1)
        self.answer = nn.Sequential(nn.Linear(2 * c, 64), nn.ReLU(), nn.Linear(64, COL))

    def forward(self, img, q):
        v, e = self.encoder(img), self.question(q)
        alpha = self.w_h(torch.tanh(self.w_v(v) + self.w_g(e)[:, None])).softmax(1)
        return self.answer(torch.cat([(alpha * v).sum(1), e], 1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    I, q, a = scenes(6000, g)
    It, qt, at = scenes(600, g)
    model = AttentiveAnswerer(permute=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for idx in torch.randperm(6000).split(64):
                loss = F.cross_entropy(model(I[idx], q[idx]), a[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(It, qt).argmax(1) == at).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
