"""Embeds passages once, then finds the ones that answer each query.

python clients/examples/search_passages.py --url grpc://127.0.0.1:8001 "Who do I owe?"
"""

from __future__ import annotations

import argparse

from modelyard_client import Client
from modelyard_client.tasks import PassageEmbedder

PASSAGES = [
    "I paid off my car in May, and the lender still reports a balance.",
    "A collector calls me at work about the debt of somebody with the same name.",
    "The servicer of my mortgage raised the escrow payment and cannot tell me why.",
    "Two purchases that I never made are on my credit card statement.",
    "My student loan was moved to another servicer, and four payments got lost.",
    "The money that I wired to my sister has not arrived after three weeks.",
    "The branch closed my checking account with my wages still in it.",
]
QUERIES = [
    "A debt collector calls me at work about somebody else's debt",
    "Somebody used my credit card for purchases",
]
HITS = 2


def main() -> None:
    """Prints each query with the passages nearest to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("queries", nargs="*", default=QUERIES)
    arguments = parser.parse_args()
    with Client(arguments.url) as client:
        embedder = PassageEmbedder(client)
        index = embedder.embed(PASSAGES)
        found = embedder.search(arguments.queries, index, k=HITS)
    for query, hits in zip(arguments.queries, found, strict=True):
        print(query)
        for hit in hits:
            print(f"  {hit.score:.3f}  {PASSAGES[hit.position]}")


if __name__ == "__main__":
    main()
