"""FastAPI over ONNX Runtime with a batcher: what waits is run together, on every core."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI

from peer_servers.encoder import MAX_BATCH_SIZE, MAX_DELAY_S, Encoder, cores, parse
from peer_servers.web import serve

Embedding = npt.NDArray[np.float32]


class Batcher:
    """Joins texts that wait; the next batch forms while one runs."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._waiting: asyncio.Queue[tuple[str, asyncio.Future[Embedding]]] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(1)

    async def embed(self, text: str) -> Embedding:
        """One text, in whatever batch it falls."""
        answer: asyncio.Future[Embedding] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((text, answer))
        return await answer

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            texts, answers = zip(*await self._batch(), strict=True)
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._pool, self._encoder.embed, texts)
            except Exception as error:  # noqa: BLE001  # each of the batch's callers is told
                for answer in answers:
                    answer.set_exception(error)
                continue
            for answer, row in zip(answers, found, strict=True):
                if not answer.cancelled():
                    answer.set_result(row)

    async def _batch(self) -> list[tuple[str, asyncio.Future[Embedding]]]:
        """The first that comes, and what joins it in time."""
        batch = [await self._waiting.get()]
        until = asyncio.get_running_loop().time() + MAX_DELAY_S
        while len(batch) < MAX_BATCH_SIZE:
            try:
                batch.append(self._waiting.get_nowait())
            except asyncio.QueueEmpty:
                left = until - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                try:
                    batch.append(await asyncio.wait_for(self._waiting.get(), left))
                except asyncio.TimeoutError:  # another class before Python 3.11
                    break
        return batch


def main() -> None:
    """Serves."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = parse()
    batcher = Batcher(Encoder(options, threads=cores()))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    serve(FastAPI(lifespan=lifespan), batcher.embed, options.port)


if __name__ == "__main__":
    main()
