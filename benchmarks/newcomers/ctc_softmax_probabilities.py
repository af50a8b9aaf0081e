"""Conv + BiGRU phone recogniser on spectrogram-like input; nn.CTCLoss is given softmax probabilities, where it wants log-probabilities: the loss is negative."""

import torch
import torch.nn as nn

ID = "ctc-softmax-probabilities"
TRUTH = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["classifier", "net.classifier", "model.classifier"],
    "onset": (0, 1),
}
N_PHONES, N_MELS, FRAMES = 10, 16, 40


class Utterances:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)
        templates = torch.randn(N_PHONES + 1, N_MELS, generator=self.g)
        templates[0] = -1.0  # silence
        self.templates = templates

    def batch(self, n):
        spec = self.templates[0].repeat(n, FRAMES, 1)
        lengths = torch.randint(3, 6, (n,), generator=self.g)
        labels = torch.randint(1, N_PHONES + 1, (n, 5), generator=self.g)
        for b in range(n):
            at = 1 + int(torch.randint(3, (1,), generator=self.g))
            for k in range(int(lengths[b])):
                dur = int(torch.randint(3, 7, (1,), generator=self.g))
                spec[b, at : at + dur] = self.templates[labels[b, k]]
                at += dur + int(torch.randint(1, 3, (1,), generator=self.g))
        spec = spec + 0.4 * torch.randn(spec.shape, generator=self.g)
        return spec, labels, lengths


class Recogniser(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(N_MELS, 48, 3, padding=1), nn.BatchNorm1d(48), nn.ReLU()
        )
        self.rnn = nn.GRU(48, hidden, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(2 * hidden, N_PHONES + 1)

    def forward(self, spec):
        h = self.conv(spec.transpose(1, 2)).transpose(1, 2)
        return self.classifier(self.rnn(h)[0])


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diag, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diag, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diag + (x != y))
    return row[-1]


def phone_error_rate(model, data):
    model.eval()
    spec, labels, lengths = data.batch(128)
    with torch.no_grad():
        best = model(spec).argmax(-1)
    wrong = 0
    for path, lab, n in zip(best, labels, lengths):
        hyp = [p for p in torch.unique_consecutive(path).tolist() if p != 0]
        wrong += edit_distance(hyp, lab[:n].tolist())
    return wrong / lengths.sum().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Utterances(seed)
    model = Recogniser()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    history = []
    with observe(model, optimizer):
        for i in range(220):
            spec, labels, lengths = data.batch(16)
            out = model(spec)
            out = out.log_softmax(dim=-1) if fixed else out.softmax(dim=-1)
            frames = torch.full((len(spec),), out.size(1), dtype=torch.long)
            loss = criterion(out.transpose(0, 1), labels, frames, lengths)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            history.append(loss.item())
    return {"metric": phone_error_rate(model, data), "better": "lower", "curve": history}
