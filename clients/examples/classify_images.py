"""Classifies image files and prints what is most probably on each.

python clients/examples/classify_images.py --url grpc://127.0.0.1:8001 photograph.jpg another.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from modelyard_client import Client
from modelyard_client.tasks import ImageClassifier


def main() -> None:
    """Prints each file with its three most probable classes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    arguments = parser.parse_args()
    with Client(arguments.url) as client:
        found = ImageClassifier(client).classify(arguments.images, top_k=3)
    for path, classes in zip(arguments.images, found, strict=True):
        print(path)
        for label, probability in classes:
            print(f"  {probability:.3f}  {label}")


if __name__ == "__main__":
    main()
