"""CTC phone recogniser (strided convolution, BiGRU). One utterance of the later, longer-text part has more labels than frames after striding: the CTC loss is -log 0 = inf and its
gradient NaN (pytorch/pytorch issue 31557). Repair: zero_infinity=True."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_ctc_unalignable"
BAD = 160
TRUTH = {
    "mechanisms": ["numerical_singularity", "corrupted_batch"],
    "layers": None,
    "onset": (BAD, BAD),
}
PHONES, FEAT, T = 9, 12, 40


class Recognizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.subsample = nn.Conv1d(FEAT, 32, 5, stride=2, padding=2)
        self.rnn = nn.GRU(32, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, PHONES + 1)

    def forward(self, x):
        h = F.relu(self.subsample(x.transpose(1, 2))).transpose(1, 2)
        return F.log_softmax(self.head(self.rnn(h)[0]), -1)


class Corpus:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)
        self.proto = torch.randn(PHONES, FEAT, generator=self.g) * 1.5

    def utterance(self, n_labels):
        lab = torch.randint(0, PHONES, (n_labels,), generator=self.g)
        frame = (torch.arange(T) * n_labels) // T
        x = self.proto[lab[frame]] + torch.randn(T, FEAT, generator=self.g)
        return x, lab + 1

    def batch(self, n=16, crowd=None):
        xs, labs = [], []
        for k in range(n):
            m = int(torch.randint(3, 7, (1,), generator=self.g))
            x, lab = self.utterance(crowd if (crowd and k == 0) else m)
            xs.append(x)
            labs.append(lab)
        return torch.stack(xs), torch.cat(labs), torch.tensor([len(v) for v in labs])


def errors(logp, labs, lens):
    """Greedy decoding; share of utterances that are not exactly right."""
    wrong, at = 0, 0
    for path, n in zip(logp.argmax(-1), lens):
        hyp = torch.unique_consecutive(path)
        hyp = hyp[hyp > 0]
        ref = torch.unique_consecutive(labs[at : at + n])
        at += n
        wrong += not (len(hyp) == len(ref) and bool((hyp == ref).all()))
    return wrong / len(lens)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    corpus = Corpus(seed + 21)
    batches = [corpus.batch(crowd=23 if step == BAD else None) for step in range(450)]
    test = corpus.batch(300)
    model = Recognizer()
    ctc = nn.CTCLoss(blank=0, zero_infinity=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, opt):
        for x, lab, n in batches:
            logp = model(x)
            loss = ctc(logp.transpose(0, 1), lab, torch.full((len(x),), logp.shape[1]), n)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        ser = errors(model(test[0]), *test[1:])
    return {"metric": ser, "better": "lower", "curve": curve}
