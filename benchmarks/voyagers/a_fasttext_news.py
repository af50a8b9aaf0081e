"""A fastText-style news classifier on an EmbeddingBag whose word vectors were loaded with
from_pretrained and so never train, although most words were missing from the vector file and
got random vectors (forum questions about "EmbeddingBag classifier stuck at low accuracy")."""

import numpy as np
import torch
from torch import nn

ID = "a-fasttext-news"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["embedding"], "onset": 0}

VOCAB, DIM, CLASSES = 1200, 12, 8


def make_corpus(rng, n):
    """Documents: every class prefers its own 60 words, the rest is common vocabulary."""
    docs, labels = [], rng.integers(0, CLASSES, n)
    topic_words = np.arange(CLASSES * 60).reshape(CLASSES, 60) * 2 + 1
    for label in labels:
        length = rng.integers(15, 40)
        words = rng.integers(0, VOCAB, length)
        on_topic = rng.random(length) < 0.3
        words[on_topic] = rng.choice(topic_words[label], on_topic.sum())
        docs.append(torch.as_tensor(words))
    return docs, torch.as_tensor(labels)


def load_word_vectors(rng):
    """Vectors for the vocabulary; out-of-file words are drawn at random (the file is small)."""
    return torch.as_tensor(rng.normal(0, 0.3, (VOCAB, DIM)), dtype=torch.float32)


def collate_batch(docs, labels, index):
    text = [docs[i] for i in index]
    offsets = torch.tensor([0] + [len(t) for t in text[:-1]]).cumsum(0)
    return torch.cat(text), offsets, labels[index]


class TextClassificationModel(nn.Module):
    def __init__(self, vectors, freeze):
        super().__init__()
        self.embedding = nn.EmbeddingBag.from_pretrained(vectors, freeze=freeze, mode="mean")
        self.fc = nn.Linear(vectors.shape[1], CLASSES)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))


def evaluate(model, docs, labels):
    model.eval()
    with torch.no_grad():
        text, offsets, y = collate_batch(docs, labels, torch.arange(len(docs)))
        return (model(text, offsets).argmax(1) == y).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    docs, labels = make_corpus(rng, 4000)
    test_docs, test_labels = make_corpus(rng, 1000)
    vectors = load_word_vectors(rng)
    # from_pretrained has freeze=True as its default
    model = TextClassificationModel(vectors, freeze=not fixed)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adagrad(params, lr=0.1)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for index in torch.randperm(len(docs)).split(64):
                text, offsets, y = collate_batch(docs, labels, index)
                optimizer.zero_grad()
                loss = criterion(model(text, offsets), y)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    accuracy = evaluate(model, test_docs, test_labels)
    return {"metric": accuracy, "better": "higher", "curve": curve}
