"""What a conversation is asked, out of JSON: messages and sampling parameters. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant")
MOST_MESSAGES = 1024
MOST_STOP_STRINGS, LONGEST_STOP_STRING = 16, 256
MOST_SEED = (1 << 64) - 1


class InvalidRequest(ValueError):
    """A request that cannot be answered; the message is its answer."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is chosen.

    Attributes:
        max_tokens: the longest answer; None for the step's default.
        seed: None for one by chance.
        stop: texts that end the answer.
        include_stop_str_in_output: whether the text that ended the answer is part of it.
        options: the rest, as OpenVINO GenAI's GenerationConfig takes it.
    """

    max_tokens: int | None
    seed: int | None
    stop: tuple[str, ...]
    include_stop_str_in_output: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Number:
    """A number's range, both ends included unless said otherwise; `whole` for integers."""

    least: float
    most: float
    whole: bool = False
    above: bool = False

    def check(self, name: str, value: Any) -> float:
        kind = int if self.whole else (int, float)
        fits = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or not self.least <= value <= self.most or (self.above and value == self.least):
            what = "a whole number" if self.whole else "a number"
            span = f"above {self.least:g}" if self.above else f"{self.least:g} or more"
            bound = "" if self.most >= MOST_SEED else f", at most {self.most:g}"
            raise InvalidRequest(
                f"sampling_parameters: {name} is {json.dumps(value)[:80]}; it is {what}, {span}{bound}."
            )
        return value if self.whole else float(value)


# vLLM's names, and the engine's where it has another.
_NUMBERS: Mapping[str, tuple[str, _Number]] = {
    "temperature": ("temperature", _Number(0, 100)),
    "top_p": ("top_p", _Number(0, 1, above=True)),
    "top_k": ("top_k", _Number(-1, MOST_SEED, whole=True)),
    "min_p": ("min_p", _Number(0, 1)),
    "repetition_penalty": ("repetition_penalty", _Number(0, 100, above=True)),
    "presence_penalty": ("presence_penalty", _Number(-2, 2)),
    "frequency_penalty": ("frequency_penalty", _Number(-2, 2)),
    "min_tokens": ("min_new_tokens", _Number(0, MOST_SEED, whole=True)),
    "max_tokens": ("max_tokens", _Number(1, MOST_SEED, whole=True)),
    "seed": ("seed", _Number(0, MOST_SEED, whole=True)),
}
_FLAGS = ("ignore_eos", "include_stop_str_in_output")
# What a client may send as long as it asks for nothing by it.
_ONLY = {"n": (1, None), "logprobs": (False, 0, None)}
KNOWN = (*_NUMBERS, "stop", *_FLAGS, *_ONLY)


def decoded(value: bytes, what: str) -> str:
    """The text of an input.

    Raises:
        InvalidRequest: it is not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{what} is not UTF-8: byte {error.start} of {len(value)} is {value[error.start]:#04x}."
        ) from None


def parsed(text: str, what: str) -> Any:
    """The JSON of an input.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} is not JSON ({str(error)[:100]}): {text[:60]!r}.") from None


def sampling_of(given: Any) -> Sampling:
    """Reads the sampling parameters; null is as good as absent.

    Args:
        given: what their JSON says.

    Raises:
        InvalidRequest: naming the parameter, what it is, and what it may be.
    """
    if not isinstance(given, dict):
        raise InvalidRequest(
            f'sampling_parameters is {json.dumps(given)[:60]}; it is a JSON object: {{"temperature": 0.7}}.'
        )
    for name in given:
        if name not in KNOWN:
            raise InvalidRequest(
                f"sampling_parameters: {name[:60]!r} is not known; there are {', '.join(sorted(KNOWN))}."
            )
    for name, allowed in _ONLY.items():
        if given.get(name) not in allowed:
            raise InvalidRequest(
                f"sampling_parameters: {name} is {json.dumps(given[name])[:60]}; there is one answer, without log "
                "probabilities."
            )
    numbers = {
        name: rule.check(name, given[name]) for name, (_, rule) in _NUMBERS.items() if given.get(name) is not None
    }
    max_tokens, seed = numbers.pop("max_tokens", None), numbers.pop("seed", None)
    return Sampling(
        max_tokens=None if max_tokens is None else int(max_tokens),
        seed=None if seed is None else int(seed),
        stop=_stop_strings(given.get("stop")),
        include_stop_str_in_output=_flag(given, "include_stop_str_in_output"),
        options=_options(numbers, ignore_eos=_flag(given, "ignore_eos")),
    )


def _options(numbers: dict[str, float], *, ignore_eos: bool) -> dict[str, Any]:
    """GenerationConfig's: the likeliest token always (temperature 0), or drawn (vLLM's default temperature is 1)."""
    temperature = numbers.pop("temperature", 1.0)
    options: dict[str, Any] = {_NUMBERS[name][0]: value for name, value in numbers.items()}
    if temperature > 0:
        options |= {"do_sample": True, "temperature": temperature}
    if temperature == 0 or options.get("top_k", 1) < 1:
        # Nothing is cut off: the engine says so by leaving top_k out.
        options.pop("top_k", None)
    if temperature == 0:
        options.pop("top_p", None)
        options.pop("min_p", None)
    return {**options, "ignore_eos": True} if ignore_eos else options


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value not in (None, True, False) or (isinstance(value, int) and not isinstance(value, bool)):
        raise InvalidRequest(f"sampling_parameters: {name} is {json.dumps(value)[:60]}; it is true or false.")
    return bool(value)


def _stop_strings(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value or []
    fits = isinstance(found, list) and all(
        isinstance(one, str) and 0 < len(one) <= LONGEST_STOP_STRING for one in found
    )
    if not fits or len(found) > MOST_STOP_STRINGS:
        raise InvalidRequest(
            f"sampling_parameters: stop is {json.dumps(value)[:60]}; it is a text or a list of at most "
            f"{MOST_STOP_STRINGS} texts, each of 1 to {LONGEST_STOP_STRING} characters."
        )
    return tuple(found)


def messages_of(given: Any, control_tokens: Sequence[str]) -> list[dict[str, str]]:
    """Reads messages in OpenAI's form.

    Args:
        given: what their JSON says.
        control_tokens: what no message may contain: it would speak in another's name.

    Raises:
        InvalidRequest: naming the message and what is wrong with it.
    """
    if not isinstance(given, list) or not given:
        raise InvalidRequest(
            f"messages is {json.dumps(given)[:60]}; it is a JSON list of one message or more: "
            '[{"role": "user", "content": "Hello"}].'
        )
    if len(given) > MOST_MESSAGES:
        raise InvalidRequest(
            f"messages has {len(given)} messages, at most {MOST_MESSAGES} are read. Leave out the oldest."
        )
    return [_message(position, message, control_tokens) for position, message in enumerate(given)]


def _message(position: int, message: Any, control_tokens: Sequence[str]) -> dict[str, str]:
    what = f"messages[{position}]"
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = json.dumps(message.get("role") if isinstance(message, dict) else message)[:60]
        raise InvalidRequest(f"{what} has the role {role}; it is one of {', '.join(ROLES)}.")
    content = _content(message.get("content"))
    if content is None:
        raise InvalidRequest(f"{what} has the content {json.dumps(message.get('content'))[:60]}; it is a text.")
    if found := next((token for token in control_tokens if token in content), ""):
        raise InvalidRequest(
            f"{what} contains {found}, which tells the model whose turn it is. Take it out of the text."
        )
    try:
        content.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} contains half a character (a lone surrogate). Send whole characters.") from None
    return {"role": message["role"], "content": content}


def _content(value: Any) -> str | None:
    """A text, or OpenAI's list of parts where all of them are text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    parts = [part.get("text") for part in value if isinstance(part, dict) and part.get("type") == "text"]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(value) else None
