"""Makes images of a seed and writes each as a PNG file as soon as it comes.

python clients/examples/generate_images.py --url grpc://127.0.0.1:8001 --seed 7 --count 4 --folder faces
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from modelyard_client import Client
from modelyard_client.tasks import ImageGenerator


def main() -> None:
    """Prints each file with the time at which it came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("faces"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with Client(arguments.url, deadline=600) as client:
        # The same seed gives the same faces again, however many are asked for.
        for image in ImageGenerator(client).generate(seed=arguments.seed, count=arguments.count):
            print(f"{time.monotonic() - started:6.2f} s  {image.save(arguments.folder)}")


if __name__ == "__main__":
    main()
