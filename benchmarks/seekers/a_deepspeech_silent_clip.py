"""Spoken-command recogniser on log spectrograms, each clip normalised by its own mean and std in the data loader.
One clip of the corpus is digital silence: std is 0, 0/0 puts NaN into the batch. SeanNaren/deepspeech.pytorch issue 272
(zero-valued audio gives a NaN loss; such clips should be removed, which is the fix here)."""

import math
import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader

ID = "a_deepspeech_silent_clip"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (131, 132)}
SR, LEN, NCLASS = 2000, 1024, 8


def synth(n):
    """A command is a two-note contour; speaker pitch, loudness, delay and noise vary."""
    y = torch.randint(0, NCLASS, (n,))
    t = torch.arange(LEN) / SR
    f0 = 150 + 40 * torch.rand(n, 1)
    first = torch.tensor([1.0, 1.0, 1.6, 1.6, 2.2, 2.2, 2.9, 2.9])[y][:, None]
    second = torch.tensor([1.6, 2.2, 1.0, 2.9, 1.0, 1.6, 2.2, 1.0])[y][:, None]
    switch = 0.2 + 0.1 * torch.rand(n, 1)
    freq = torch.where(t[None] < switch, f0 * first, f0 * second)
    wav = torch.sin(2 * math.pi * torch.cumsum(freq / SR, 1)) * (
        0.2 + torch.rand(n, 1)
    ) + 0.3 * torch.randn(n, LEN)
    return wav, y


class SpectrogramDataset(Dataset):
    def __init__(self, wavs, labels, drop_silence):
        keep = torch.ones(len(wavs), dtype=torch.bool)
        if drop_silence:
            keep = wavs.abs().amax(1) > 0
        self.wavs, self.labels = wavs[keep], labels[keep]
        self.window = torch.hann_window(128)

    def __len__(self):
        return len(self.wavs)

    def __getitem__(self, i):
        spec = torch.stft(
            self.wavs[i], 128, hop_length=32, window=self.window, return_complex=True
        ).abs()
        spec = torch.log1p(spec)
        spec = (spec - spec.mean()) / spec.std()
        return spec, self.labels[i]


class DeepSpeechish(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(65, 48, 5, stride=2, padding=2), nn.BatchNorm1d(48), nn.Hardtanh(0, 20)
        )
        self.rnn = nn.GRU(48, 40, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(80, NCLASS)

    def forward(self, spec):
        h, _ = self.rnn(self.conv(spec).transpose(1, 2))
        return self.fc(h.mean(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    wavs, labels = synth(2600)
    wavs[131 * 16 + 5] = 0.0  # an empty recording of a crowd-sourced corpus
    test = SpectrogramDataset(*synth(300), drop_silence=False)
    loader = DataLoader(
        SpectrogramDataset(wavs, labels, drop_silence=fixed),
        batch_size=16,
        shuffle=False,
        drop_last=True,
    )
    model = DeepSpeechish()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(2):
            for spec, y in loader:
                loss = criterion(model(spec), y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        xs, ys = zip(*[test[i] for i in range(len(test))])
        acc = (model(torch.stack(xs)).argmax(1) == torch.stack(ys)).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
