"""Keeps many requests in flight from one thread, and waits for none longer than its deadline.

python clients/examples/async_many.py --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse
import asyncio
import time

from modelyard_client import AsyncClient
from modelyard_client.errors import DeadlineExceeded

TEXTS = [f"Complaint number {number} is about a card payment." for number in range(200)]


async def main() -> None:
    """Sends 200 texts, each as a request of its own, 32 at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    async with AsyncClient(parser.parse_args().url) as client:
        start = time.perf_counter()
        requests = ({"text": [[text]]} for text in TEXTS)
        counts = [
            int(result["token_count"][0, 0])
            async for result in client.infer_many("text_embedder", requests, in_flight=32, deadline=30)
        ]
        seconds = time.perf_counter() - start
        print(f"{len(counts)} texts with {sum(counts)} tokens in {seconds:.2f} s")
        try:
            # A text that takes milliseconds to read, and a tenth of one to wait.
            await client.infer("text_embedder", {"text": [["too late " * 20_000]]}, deadline=0.0001)
        except DeadlineExceeded as error:
            print(f"as expected: {error}")


if __name__ == "__main__":
    asyncio.run(main())
