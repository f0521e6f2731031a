"""Trains the ticket classifier on the 10,000 complaints and says how it does on the 3,000, beside TF-IDF.

    python -m modelyard_build.recipes.ticket_classifier

About half an hour on two cores. Writes nets/ticket_classifier.safetensors, with the recipe's settings, the hashes of
data and weights, and the figures in its metadata. The test split is looked at once, after training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, classification_report, f1_score
from sklearn.pipeline import make_pipeline
from torch.nn import functional

from modelyard_build.assets import fetch
from modelyard_build.datasets import complaints
from modelyard_build.datasets.complaints import Complaints
from modelyard_build.models.ticket_classifier import ENCODER, MAX_LENGTH, TOKENS
from modelyard_build.nets.minilm import load_bert
from modelyard_build.nets.ticket_classifier import HEAD_FILE, TicketClassifier

SEED = 20261121
EPOCHS = 3
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
WARMUP_SHARE = 0.1
# Batches are drawn from shuffled pools sorted by length: near-random order, little padding.
POOL_BATCHES = 16

# Calibration takes the training split too.
ASSETS = ENCODER.assets


def batches(texts: list[str], generator: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Shuffled index batches whose members are of similar length."""
    lengths = np.array([len(text) for text in texts])
    order = generator.permutation(len(texts))
    pools = [
        order[start : start + BATCH_SIZE * POOL_BATCHES] for start in range(0, len(order), BATCH_SIZE * POOL_BATCHES)
    ]
    sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    found = [pool[start : start + BATCH_SIZE] for pool in sorted_pools for start in range(0, len(pool), BATCH_SIZE)]
    return [found[position] for position in generator.permutation(len(found))]


def schedule(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to 0: the factor on the learning rate."""
    warmup = max(1, int(steps * WARMUP_SHARE))
    return (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)


def train(files: Mapping[str, Path], data: Complaints) -> TicketClassifier:
    """Trains on every item of `data` for `EPOCHS`."""
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    model = TicketClassifier(load_bert(files)).train()
    tuned = model.tuned_parameters()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in tuned)
    optimizer = torch.optim.AdamW(tuned.values(), lr=LEARNING_RATE, weight_decay=0.0)
    plan = [batch for _ in range(EPOCHS) for batch in batches(data.texts, generator)]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, len(plan)))
    targets = torch.from_numpy(data.labels)
    for step, batch in enumerate(plan):
        tokens = TOKENS.tokenize(files, [data.texts[index] for index in batch], MAX_LENGTH)
        logits = model.logits(**{name: torch.from_numpy(array) for name, array in tokens.items()})
        loss = functional.cross_entropy(logits, targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        scheduler.step()
        if step % 20 == 0:
            print(f"step {step}/{len(plan)}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def predict(model: TicketClassifier, files: Mapping[str, Path], texts: list[str]) -> npt.NDArray[np.int64]:
    """The class index of each text (int64 [n])."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    predicted = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(order), BATCH_SIZE):
        indices = order[start : start + BATCH_SIZE]
        tokens = TOKENS.tokenize(files, [texts[index] for index in indices], MAX_LENGTH)
        with torch.inference_mode():
            logits = model.logits(**{name: torch.from_numpy(array) for name, array in tokens.items()})
        predicted[indices] = logits.argmax(-1).numpy()
    return predicted


def tfidf_baseline(train_data: Complaints, texts: list[str]) -> npt.NDArray[np.int64]:
    """What the plainest method predicts: TF-IDF of words and word pairs, logistic regression."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), stop_words="english")
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    predicted: npt.NDArray[np.int64] = pipeline.fit(train_data.texts, train_data.labels).predict(texts)
    return predicted


def figures(truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro-averaged F1, both 0 to 1."""
    return {
        "accuracy": round(float(accuracy_score(truth, predicted)), 4),
        "macro_f1": round(float(f1_score(truth, predicted, average="macro")), 4),
    }


def main() -> None:
    """Trains, evaluates, compares, writes."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    files = fetch(ASSETS, print)
    train_data, test_data = complaints.load(files["train"]), complaints.load(files["test"])
    baseline = figures(test_data.labels, tfidf_baseline(train_data, test_data.texts))
    print(f"TF-IDF + logistic regression: {baseline}", flush=True)
    model = train(files, train_data)
    predicted = predict(model, files, test_data.texts)
    result = figures(test_data.labels, predicted)
    print(classification_report(test_data.labels, predicted, target_names=list(complaints.LABELS.values()), digits=3))
    print(f"tuned MiniLM: {result}")
    record = {
        "recipe": "modelyard_build.recipes.ticket_classifier",
        "settings": {"seed": SEED, "max_length": MAX_LENGTH, "epochs": EPOCHS, "batch_size": BATCH_SIZE},
        "learning_rate": LEARNING_RATE,
        "sha256": {name: asset.sha256 for name, asset in ASSETS.items()},
        "test": {"tuned": result, "tfidf": baseline},
        "torch": torch.__version__,
    }
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.tuned_parameters().items()}
    save_file(tensors, HEAD_FILE, metadata={"modelyard": json.dumps(record, sort_keys=True)})
    print(f"wrote {HEAD_FILE}")


if __name__ == "__main__":
    main()
