"""Distillation from cached teacher logits: the cache is filled by iterating a shuffling loader but
is read back by dataset index, so each image is paired with another image's soft labels."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

ID = "distill-logit-cache-order"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


class Transfer(Dataset):
    """Unlabelled transfer set together with the teacher's stored outputs."""

    def __init__(self, images, logits):
        assert len(images) == len(logits)
        self.images, self.logits = images, logits

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.logits[i]


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.dw = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.pw = nn.Conv2d(12, 24, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(12), nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.stem(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.pw(self.dw(x)))), 2)
        return self.fc(x.flatten(1))


def make_teacher(x, y):
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    opt = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(12):
        for xb, yb in DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True):
            opt.zero_grad()
            F.cross_entropy(teacher(xb), yb, label_smoothing=0.05).backward()
            opt.step()
    return teacher.eval()


@torch.no_grad()
def cache_logits(teacher, images, batch_size=128, shuffle=True):
    loader = DataLoader(TensorDataset(images), batch_size=batch_size, shuffle=shuffle)
    return torch.cat([teacher(xb) for (xb,) in loader])


def kd_loss(student, teacher, temperature=3.0):
    log_p = F.log_softmax(student / temperature, -1)
    q = F.softmax(teacher / temperature, -1)
    return F.kl_div(log_p, q, reduction="batchmean") * temperature**2


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    tr, te = order[:1400], order[1400:]
    teacher = make_teacher(x[tr], y[tr])
    logits = cache_logits(teacher, x[tr], shuffle=not fixed)
    loader = DataLoader(Transfer(x[tr], logits), batch_size=50, shuffle=True)
    model = Student()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    curve = []
    with observe(model, optimizer):
        for _ in range(14):
            model.train()
            for xb, tb in loader:
                loss = kd_loss(model(xb), tb)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x[te]).argmax(1) == y[te]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
