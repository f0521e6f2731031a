"""Triages chest X-rays and prints them in the order in which they should be looked at. A demonstration, not medical.

python clients/examples/triage_xrays.py --url grpc://127.0.0.1:8001 --urgent one.jpeg another.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from modelyard_client import Client
from modelyard_client.tasks import ImagingTriage


def main() -> None:
    """Prints each file with its recommendation, the most probable finding first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("--urgent", action="store_true", help="go before what waits with the server and is not urgent")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    arguments = parser.parse_args()
    with Client(arguments.url) as client:
        found = ImagingTriage(client).triage(arguments.images, urgent=arguments.urgent)
    for triage, path in sorted(zip(found, arguments.images, strict=True), key=lambda pair: -pair[0].probability):
        print(f"{path}\n  {triage}")


if __name__ == "__main__":
    main()
