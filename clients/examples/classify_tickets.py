"""Classifies complaints and prints the most probable products.

python clients/examples/classify_tickets.py --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse

from modelyard_client import Client
from modelyard_client.tasks import TicketClassifier

TICKETS = [
    "They reported a late payment to the credit bureau although I paid on time.",
    "A debt collector calls me every day about a bill that is not mine.",
    "My mortgage servicer lost the papers for my loan modification.",
]


def main() -> None:
    """Prints each ticket with its three most probable products."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    with Client(parser.parse_args().url) as client:
        for ticket, prediction in zip(TICKETS, TicketClassifier(client).classify(TICKETS), strict=True):
            print(ticket)
            for label, probability in list(prediction.probabilities.items())[:3]:
                print(f"  {probability:.3f}  {label}")


if __name__ == "__main__":
    main()
