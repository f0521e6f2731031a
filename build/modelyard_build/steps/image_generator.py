"""Images out of a seed, as a stream: a model for Triton's Python backend that calls a net (business-logic scripting).

Image `index` of a seed is made of the noise that numpy's Philox, a counter-based generator (Salmon et al., 2011), gives
for the key (seed, index). So it does not depend on how many images are asked for, nor on those before it. The net is
always given the same number of rows, each image in the same place: with another number a runtime may sum in another
order, and pixels differ. The same seed and index then give the same bytes, whatever else the server does, for as long
as the net's artefact, `images_per_call`, the machine and its libraries stay the same.

Reads from config.pbtxt's `parameters`:

- `net`: the model that turns noise into images: `latent` FP32 [width] in, `pixels` FP32 [side, side, 3] out, 0 to 1.
- `latent_width`: how many numbers of noise the net takes.
- `images_per_call`: rows of each call. Images that nobody asked for fill the last call of a stream up.
- `calls_at_once`: calls that may be under way, of all streams together; streams take turns.
- `max_streams`: requests that are answered at a time; further ones are refused at once.
- `max_count`: images of one request.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from PIL import Image

MOST = 2**63 - 1
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# So long after it was seen that a client has gone, its request is ended. Triton 2.51 releases a stream twice, and
# crashes, where the end comes before the last response to that client is off its hands.
LEAVE_S = 1.0
# Calls of one stream: one runs while the images of another are encoded and sent. The first runs alone, so that its
# images come as soon as they can.
AHEAD = 2


class Refused(Exception):
    """A request that is not answered with images; the message is its answer.

    Attributes:
        code: Triton's code for the error.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Gone(Exception):
    """Nobody waits for the stream any more."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        seed: of all images.
        first: the index of the first image.
        count: how many.
    """

    seed: int
    first: int
    count: int

    def calls(self, size: int) -> Iterator[int]:
        """The numbers of the calls in which the images lie: call n makes the images from n * size on."""
        return iter(range(self.first // size, (self.first + self.count - 1) // size + 1))

    def has(self, index: int) -> bool:
        """Whether an image is among those that are asked for."""
        return self.first <= index < self.first + self.count


class TritonPythonModel:
    """One instance of the step, which answers many requests at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.net = _text(parameters, "net")
        self.latent_width = _integer(parameters, "latent_width")
        self.images_per_call = _integer(parameters, "images_per_call")
        self.max_streams = _integer(parameters, "max_streams")
        self.max_count = _integer(parameters, "max_count")
        # What waits for a thread waits in the order in which it came.
        self.pool = ThreadPoolExecutor(_integer(parameters, "calls_at_once"))
        # A response and the cancellation of its stream may lock each other out in Triton's gRPC endpoint: that stream
        # hangs, and no other one with it.
        self.sends = ThreadPoolExecutor(self.max_streams)
        self.streams = 0

    async def execute(self, requests: list[Any]) -> None:
        """Answers requests, beside those that are being answered.

        Args:
            requests: each with `seed` and `count`, INT64 [1], and perhaps `first_index`, INT64 [1].
        """
        await asyncio.gather(*(self._answer(request) for request in requests))

    def finalize(self) -> None:
        """Ends the threads."""
        self.pool.shutdown(cancel_futures=True)
        self.sends.shutdown(wait=False)

    async def _answer(self, request: Any) -> None:
        """A response for each image, in order: `image` BYTES [1], `index` and `seed` INT64 [1]."""
        sender = request.get_response_sender()
        try:
            wanted = self._wanted(request)
            if self.streams >= self.max_streams:
                # The beginning is how Triton's own queues say it, so that clients know what it is.
                raise Refused(
                    f"Exceeds maximum queue size: {self.max_streams} requests are being answered, as many as "
                    "max_streams allows. Try again in a moment.",
                    pb_utils.TritonError.UNAVAILABLE,
                )
            self.streams += 1
            try:
                await self._stream(wanted, sender, request.trace())
                _check(sender)
                await self._send(sender, flags=FINAL)
            finally:
                self.streams -= 1
        except Gone:
            await asyncio.sleep(LEAVE_S)
            sender.send(flags=FINAL)
        except Refused as error:
            _send_error(sender, str(error), error.code)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this request's and nobody else's
            _send_error(sender, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

    async def _stream(self, wanted: Wanted, sender: Any, trace: Any) -> None:
        loop, calls = asyncio.get_running_loop(), wanted.calls(self.images_per_call)
        ahead: deque[asyncio.Future[list[tuple[int, bytes]]]] = deque()
        most = 1
        try:
            while True:
                while len(ahead) < most and (number := next(calls, None)) is not None:
                    ahead.append(loop.run_in_executor(self.pool, self._images, wanted, number, sender, trace))
                if not ahead:
                    return
                done, most = await ahead.popleft(), AHEAD
                for index, image in done:
                    await self._send(sender, _response(image, index, wanted.seed))
        finally:
            for call in ahead:
                call.cancel()

    async def _send(self, sender: Any, *response: Any, flags: int = 0) -> None:
        """Waits for Triton to take a response, or the end, while other streams go on."""
        send = functools.partial(sender.send, *response, flags=flags)
        await asyncio.get_running_loop().run_in_executor(self.sends, send)

    def _images(self, wanted: Wanted, number: int, sender: Any, trace: Any) -> list[tuple[int, bytes]]:
        """The images of one call that are wanted, with their indices. Runs in a thread of the pool."""
        _check(sender)
        indices = range(number * self.images_per_call, (number + 1) * self.images_per_call)
        latent = np.stack([noise(wanted.seed, index, self.latent_width) for index in indices])
        pixels = self._call(latent, trace)
        return [(index, png(one)) for index, one in zip(indices, pixels, strict=True) if wanted.has(index)]

    def _call(self, latent: npt.NDArray[np.float32], trace: Any) -> npt.NDArray[np.float32]:
        answer = pb_utils.InferenceRequest(
            model_name=self.net,
            requested_output_names=["pixels"],
            inputs=[pb_utils.Tensor("latent", latent)],
            trace=trace,
        ).exec()
        if answer.has_error():
            raise Refused(f"{self.net}: {answer.error().message()}", answer.error().code())
        pixels: npt.NDArray[np.float32] = pb_utils.get_output_tensor_by_name(answer, "pixels").as_numpy()
        return pixels

    def _wanted(self, request: Any) -> Wanted:
        """What is asked for.

        Raises:
            Refused: it cannot be made.
        """
        wanted = Wanted(_input(request, "seed", 0), _input(request, "first_index", 0), _input(request, "count", 1))
        if wanted.seed < 0:
            raise _invalid(f"seed is {wanted.seed}; it is a whole number from 0 to {MOST}.")
        if wanted.count < 1:
            raise _invalid(f"count is {wanted.count}; ask for 1 image or more.")
        if wanted.count > self.max_count:
            raise _invalid(
                f"count is {wanted.count}; at most {self.max_count} images are made for one request. Send several: "
                f"with first_index 0, {self.max_count}, {2 * self.max_count}... the images of a seed go on."
            )
        if not 0 <= wanted.first <= MOST - wanted.count:
            raise _invalid(
                f"first_index is {wanted.first}; with {wanted.count} images it is a whole number from 0 to "
                f"{MOST - wanted.count}."
            )
        return wanted


def noise(seed: int, index: int, width: int) -> npt.NDArray[np.float32]:
    """What image `index` of a seed is made of: float32 [width], normally distributed."""
    key = np.array([seed, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(width, dtype=np.float32)


def png(pixels: npt.NDArray[np.float32]) -> bytes:
    """An image as a file: float32 [side, side, 3], 0 to 1, as 8 bits a colour."""
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _check(sender: Any) -> None:
    """Raises Gone where nobody waits any more."""
    if sender.is_cancelled():
        raise Gone


def _response(image: bytes, index: int, seed: int) -> Any:
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("image", np.array([image], np.object_)),
            pb_utils.Tensor("index", np.array([index], np.int64)),
            pb_utils.Tensor("seed", np.array([seed], np.int64)),
        ]
    )


def _send_error(sender: Any, message: str, code: int) -> None:
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)), flags=FINAL)


def _invalid(message: str) -> Refused:
    return Refused(message, pb_utils.TritonError.INVALID_ARG)


def _input(request: Any, name: str, default: int) -> int:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else int(tensor.as_numpy()[0])


def _text(parameters: dict[str, dict[str, str]], name: str) -> str:
    value = parameters.get(name, {}).get("string_value", "")
    if not value:
        raise ValueError(f"parameters {{ key: {name!r} }} is missing or empty. Set it in config.pbtxt.")
    return value


def _integer(parameters: dict[str, dict[str, str]], name: str) -> int:
    """A positive integer out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a positive whole number as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
