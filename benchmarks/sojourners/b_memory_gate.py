"""Memory network with a gated write (one memory vector per slot, sigmoid write gate, content read) on key-value recall.
Bug: the write gate's bias starts at -12 ('keep the memory stable'): the sigmoid is on its flat part, nothing is written, no gradient."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_memory_gate"
TRUTH = {
    "mechanisms": ["saturated_activations"],
    "layers": ["memory.gate", "memory"],
    "onset": (0, 0),
}


class GatedMemory(nn.Module):
    def __init__(self, d, slots, gate_bias):
        super().__init__()
        self.addr = nn.Linear(d, slots)
        self.gate = nn.Linear(d, 1)
        self.write = nn.Linear(d, d)
        self.slots, self.d = slots, d
        nn.init.constant_(self.gate.bias, gate_bias)

    def start(self, B):
        return torch.zeros(B, self.slots, self.d)

    def store(self, mem, key, item):
        w = F.softmax(self.addr(key), -1)[..., None] * torch.sigmoid(self.gate(item))[:, None]
        return (1 - w) * mem + w * torch.tanh(self.write(item))[:, None]

    def read(self, mem, key):
        return (F.softmax(self.addr(key), -1)[..., None] * mem).sum(1)


class RecallNet(nn.Module):
    def __init__(self, n_key=8, n_val=8, d=32, gate_bias=1.0):
        super().__init__()
        self.key, self.val = nn.Embedding(n_key, d), nn.Embedding(n_val, d)
        self.memory = GatedMemory(d, 10, gate_bias)
        self.out = nn.Sequential(nn.Linear(2 * d, 48), nn.ReLU(), nn.Linear(48, n_val))

    def forward(self, keys, vals, query):
        mem = self.memory.start(len(keys))
        for t in range(keys.shape[1]):
            k = self.key(keys[:, t])
            mem = self.memory.store(mem, k, self.val(vals[:, t]))
        q = self.key(query)
        return self.out(torch.cat([self.memory.read(mem, q), q], -1))


def episodes(n, T):
    keys = torch.rand(n, 8).argsort(1)[:, :T]
    vals = torch.randint(8, (n, T))
    j = torch.randint(T, (n,))
    r = torch.arange(n)
    return keys, vals, keys[r, j], vals[r, j]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = RecallNet(gate_bias=1.0 if fixed else -12.0)
    opt = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, nesterov=True)
    curve = []
    with observe(model, opt):
        for step in range(1000):
            T = 2 + min(3, step // 250)  # curriculum on the number of pairs
            k, v, q, y = episodes(64, T)
            loss = F.cross_entropy(model(k, v, q), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        k, v, q, y = episodes(1000, 5)
        acc = (model(k, v, q).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
