"""`chat`, beside OpenVINO GenAI's pipeline as the step makes it: the same prompts, and as many tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from measure.python_steps import initialised
from measure.repositories import stated_config
from measure.served import Tensors
from measure.streaming_systems.system import Own, Streamed
from modelyard_build.model import Array
from modelyard_build.models.chat import CHAT

# A prompt of some length, as a conversation has after a few turns; the number keeps the cache from knowing it.
_SAID = (
    "Story {number}. A traveller comes to a village in the mountains, where it has been raining for a week. The inn is "
    "full, and the baker, who has a room above his shop, asks for a tale in place of money. Tell me what she tells him."
)


def request(number: int, size: int) -> Tensors:
    """A story of so many tokens, drawn by chance; the end of the text does not end it."""
    messages = [{"role": "user", "content": _SAID.format(number=number)}]
    sampling = {"max_tokens": size, "ignore_eos": True, "temperature": 0.8, "top_p": 0.95, "seed": number}
    texts = {"messages": json.dumps(messages), "sampling_parameters": json.dumps(sampling)}
    flags = {"stream": np.array([True]), "return_num_output_tokens": np.array([True])}
    return {**{name: np.array([text.encode()], np.object_) for name, text in texts.items()}, **flags}


def count(response: Mapping[str, Array]) -> int:
    """Its tokens: a character may take several."""
    return int(response["num_output_tokens"][0])


def own(repository: Path, config_name: str) -> Own:
    """The pipeline that the step makes, with its settings, asked for whole answers at once."""
    step = initialised(repository, CHAT.name, config_name)

    def rate(requests: Sequence[Tensors]) -> float:
        prompts = [_tokens(step.tokenizer, request) for request in requests]
        configs = [_config(request) for request in requests]
        start = time.perf_counter()
        results = step.engine.pipeline.generate(prompts, configs)
        elapsed = time.perf_counter() - start
        return sum(len(tokens) for result in results for tokens in result.m_generation_ids) / elapsed

    precision = stated_config(repository, CHAT.name, config_name).parameters["INFERENCE_PRECISION_HINT"].string_value
    return Own(f"OpenVINO GenAI, {precision}", rate)


def _tokens(tokenizer: Any, request: Tensors) -> Any:
    messages = json.loads(request["messages"][0])
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    return tokenizer.encode(prompt, add_special_tokens=False).input_ids


def _config(request: Tensors) -> Any:
    import openvino_genai

    from modelyard_build.steps.chat_parts.chat_requests import sampling_of

    sampling = sampling_of(json.loads(request["sampling_parameters"][0]))
    config = openvino_genai.GenerationConfig(**sampling.options)
    config.max_new_tokens, config.rng_seed, config.apply_chat_template = sampling.max_tokens, sampling.seed, False
    return config


CHAT_STREAMS = Streamed(items="tokens", size=64, request=request, count=count, own=own)
