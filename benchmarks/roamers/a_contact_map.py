"""Protein contact prediction in miniature: residue embeddings, an outer sum to a pair map, a deep tower of convolutions on it and a
symmetric contact score. While the tower was turned from a Sequential into a loop the skip connection got lost (`pair = block(pair)`), so
signal and gradient shrink at every one of the blocks, and the lower part of the network does not learn."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_contact_map"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["blocks.%d" % i for i in range(14)],
    "onset": 0,
}

LENGTH, KINDS = 18, 8


def proteins(rng, n):
    affinity = np.zeros((KINDS, KINDS), bool)
    for a, b in ((0, 1), (2, 3), (4, 4), (5, 6), (1, 7)):
        affinity[a, b] = affinity[b, a] = True
    seq = rng.integers(0, KINDS, (n, LENGTH))
    fits = affinity[seq[:, :, None], seq[:, None, :]]
    gap = np.abs(np.arange(LENGTH)[:, None] - np.arange(LENGTH)[None]) >= 3
    # a pair touches when it fits and a neighbouring pair of the same strand fits as well
    pad = np.pad(fits, ((0, 0), (1, 1), (1, 1)))
    helped = pad[:, 2:, :-2] | pad[:, :-2, 2:] | pad[:, 2:, 2:] | pad[:, :-2, :-2]
    return torch.from_numpy(seq), torch.from_numpy((fits & helped & gap).astype(np.float32))


class PairBlock(nn.Module):
    def __init__(self, c, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(c, c, kernel, padding=kernel // 2)

    def forward(self, x):
        return self.conv(F.elu(x))


class ContactNet(nn.Module):
    def __init__(self, c=16, depth=14, skip=False):
        super().__init__()
        self.left, self.right = nn.Embedding(KINDS, c), nn.Embedding(KINDS, c)
        self.gap = nn.Embedding(LENGTH, c)
        self.blocks = nn.ModuleList(PairBlock(c, 3 if i % 3 == 0 else 1) for i in range(depth))
        self.score = nn.Conv2d(c, 1, 1)
        self.skip = skip
        i = torch.arange(LENGTH)
        self.register_buffer("distance", (i[:, None] - i[None]).abs())

    def forward(self, seq):
        pair = self.left(seq)[:, :, None] + self.right(seq)[:, None] + self.gap(self.distance)
        pair = pair.permute(0, 3, 1, 2)
        for block in self.blocks:
            pair = pair + block(pair) if self.skip else block(pair)
        s = self.score(F.elu(pair))[:, 0]
        return 0.5 * (s + s.transpose(1, 2))


def average_precision(score, truth):
    order = np.argsort(-score)
    t = truth[order]
    return float((np.cumsum(t) / np.arange(1, len(t) + 1))[t > 0].mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    seq, contact = proteins(rng, 1500)
    vseq, vcontact = proteins(rng, 150)
    net = ContactNet(skip=fixed)
    pos_weight = (1 - contact.mean()) / contact.mean()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 30))
    curve = []
    with observe(net, optimizer):
        for step in range(350):
            i = torch.from_numpy(rng.integers(0, len(seq), 12))
            loss = F.binary_cross_entropy_with_logits(
                net(seq[i]), contact[i], pos_weight=pos_weight
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            warmup.step()
            curve.append(loss.item())
    with torch.no_grad():
        s = net(vseq).flatten().numpy()
    return {
        "metric": average_precision(s, vcontact.flatten().numpy()),
        "better": "higher",
        "curve": curve,
    }
