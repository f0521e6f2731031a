"""Embeds texts and prints the nearest neighbour of each.

python clients/examples/embed_texts.py --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse

import numpy as np

from modelyard_client import Client
from modelyard_client.tasks import TextEmbedder

TEXTS = [
    "The bank charged me a fee that I never agreed to.",
    "My account was billed for a charge I did not approve.",
    "How do I reset the password of my email account?",
    "I forgot my login and cannot get into my mailbox.",
    "The recipe asks for two eggs and a cup of flour.",
    "Mix the flour with eggs and bake it for an hour.",
]


def main() -> None:
    """Prints each text with the most similar other one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    with Client(parser.parse_args().url) as client:
        vectors = TextEmbedder(client).embed(TEXTS)
    # The vectors have unit length: their scalar products are cosines.
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    for text, row in zip(TEXTS, similarity, strict=True):
        print(f"{text}\n  {row.max():.3f}  {TEXTS[row.argmax()]}")


if __name__ == "__main__":
    main()
