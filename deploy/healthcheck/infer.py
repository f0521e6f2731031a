"""A health check that infers: exit code 0 and a sentence when every model answers its golden sample rightly, else 1.

Triton's own /v2/health/ready and /v2/models/<model>/ready stay 200 when the process behind a Python model is dead and
every request fails. So this sends the first golden sample of every model that clients call (those that no ensemble
calls as a step), and holds the outputs against the sample's validation_data. An ensemble with a response cache would
answer out of its memory, whatever has become of its steps: there each of them is asked. A model that answers with a
stream is asked for its first response, one that keeps state with a sequence of a single request. A model that is not
built on this machine (it has no version, or one of its steps has none) is not served, and no failure; the sentence
names it.

It runs inside Triton's container, so it uses the standard library alone, and Triton's HTTP protocol with JSON tensors
(which knows neither FP16 nor BF16 inputs and outputs); an input that stands in the samples in base64, such as an image,
is sent as the bytes that it is.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import math
import random
import re
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

# Of the expected tensor's largest absolute value. Precision is proven where a model is built; this tells an answer
# from garbage on every hardware and precision that the model may run on.
TOLERANCE = 0.05


class UnhealthyError(Exception):
    """A model does not answer, or not rightly; the message says which and how."""


def main() -> int:
    """Checks every model, and prints one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="Triton's HTTP endpoint")
    parser.add_argument("--repository", type=Path, default=Path("/models"), help="the model repository")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that one request may take")
    arguments = parser.parse_args()
    try:
        missing = unbuilt(arguments.repository)
        models = models_to_check(arguments.repository, missing)
        for model in models:
            check_model(model, arguments.repository, arguments.url, arguments.timeout)
    except UnhealthyError as error:
        print(f"unhealthy: {error}")
        return 1
    left_out = f"; not built, and left out: {', '.join(sorted(missing))}" if missing else ""
    print(f"healthy: {', '.join(models)} answered as expected{left_out}")
    return 0


def models_of(repository: Path) -> list[Path]:
    """The folders that Triton takes for models."""
    folders = [path for path in repository.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    return sorted(folders)


def unbuilt(repository: Path) -> set[str]:
    """The models without a version, and the ensembles that call one of them."""
    folders = models_of(repository)
    missing = {folder.name for folder in folders if not any(is_version(path) for path in folder.iterdir())}
    calls = {folder.name: set(steps_of(folder)) for folder in folders}
    # An ensemble may be a step of another.
    while more := {name for name, called in calls.items() if name not in missing and called & missing}:
        missing |= more
    return missing


def is_version(path: Path) -> bool:
    """Whether Triton takes a path in a model's folder for a version."""
    return bool(re.fullmatch(r"[1-9]\d*", path.name)) and path.is_dir()


def config_of(model: Path) -> str:
    """A model's config.pbtxt without its comments; empty where Triton makes one itself."""
    path = model / "config.pbtxt"
    return re.sub(r"#.*", "", path.read_text(encoding="utf-8")) if path.is_file() else ""


def steps_of(model: Path) -> list[str]:
    """The models that one calls: the steps of an ensemble, and those that a parameter of a step names."""
    config = config_of(model)
    named = re.findall(r"\bstring_value\s*:\s*[\"']([^\"']+)[\"']", config)
    called = re.findall(r"\bmodel_name\s*:\s*[\"']([^\"']+)[\"']", config)
    models = {path.name for path in models_of(model.parent)} - {model.name}
    return [*called, *(name for name in named if name in models)]


def models_to_check(repository: Path, missing: set[str]) -> list[str]:
    """The models with golden samples that no ensemble calls as a step, by name; the steps of those with a cache."""
    with_samples = {path.parent.parent.name for path in repository.glob("*/golden/samples.json")} - missing
    steps: dict[str, list[str]] = {}
    # What cannot be asked itself: a cache answers in its place, or its stream takes what JSON cannot hold.
    closed = set()
    for model in [path for path in models_of(repository) if path.name not in missing]:
        steps[model.name] = steps_of(model)
        if re.search(r"\bresponse_cache\s*:?\s*\{\s*enable\s*:\s*true", config_of(model)):
            closed.add(model.name)
        if model.name in with_samples and is_decoupled(model) and any(map(is_base64, first_sample(model).values())):
            closed.add(model.name)
    # A model that calls nothing is asked all the same: nothing stands behind it that could be.
    open_ = {name for name in closed if with_samples.intersection(steps[name])}
    called = {step for name, called in steps.items() if name not in open_ for step in called}
    models = sorted(with_samples - called - open_)
    if not models:
        hint = f" Not built are {', '.join(sorted(missing))}: modelyard build" if missing else ""
        raise UnhealthyError(f"no model in {repository} has golden samples, so nothing shows that any answers.{hint}")
    return models


def golden_samples(model: Path) -> Any:
    """The samples that stand beside a model, in perf_analyzer's form."""
    return json.loads((model / "golden" / "samples.json").read_text(encoding="utf-8"))


def first_sample(model: Path) -> dict[str, Any]:
    """The inputs of the first of them."""
    inputs: dict[str, Any] = golden_samples(model)["data"][0]
    return inputs


def check_model(model: str, repository: Path, url: str, timeout_s: float) -> None:
    """Sends a model its first golden sample and checks the answer."""
    golden = golden_samples(repository / model)
    metadata = ask(model, f"{url}/v2/models/{quote(model)}", None, timeout_s)
    first = golden["data"][0]
    # A sample may leave out what is optional; Triton says what else is missing.
    samples = [(spec, first[spec["name"]]) for spec in metadata["inputs"] if spec["name"] in first]
    if is_decoupled(repository / model):
        check_stream(model, samples, url, timeout_s)
        return
    request = {"inputs": [tensor(spec, sample) for spec, sample in samples], **sequence_of(repository / model)}
    binary = b"".join(raw(sample) for _, sample in samples if is_base64(sample))
    answer = ask(model, f"{url}/v2/models/{quote(model)}/infer", request, timeout_s, binary)
    outputs = {output["name"]: output for output in answer["outputs"]}
    expected = golden.get("validation_data", [{}])[0]
    for name, output in outputs.items():
        check_finite(f"{model}'s output {name}", output["data"])
    for name, values in expected.items():
        if name not in outputs:
            raise UnhealthyError(f"{model} answered without its output {name}")
        largest = max((abs(value) for value in content(values)), default=0.0) if is_float(outputs[name]) else 0.0
        check_equal(f"{model}'s output {name}", outputs[name]["data"], content(values), TOLERANCE * largest)


def is_decoupled(model: Path) -> bool:
    """Whether a model answers with a stream, which Triton's /infer refuses."""
    return bool(re.search(r"\bdecoupled\s*:\s*true", config_of(model)))


def sequence_of(model: Path) -> dict[str, Any]:
    """For a model that keeps state, what makes a request a whole sequence of its own."""
    if not re.search(r"\bsequence_batching\b", config_of(model)):
        return {}
    number = random.getrandbits(63) | 1
    return {"parameters": {"sequence_id": number, "sequence_start": True, "sequence_end": True}}


def check_stream(model: str, samples: list[tuple[Any, Any]], url: str, timeout_s: float) -> None:
    """Reads the first response of a stream: that it is no error. What it says is proven where the model is built."""
    body = json.dumps({spec["name"]: content(sample) for spec, sample in samples}).encode()
    with opened(model, f"{url}/v2/models/{quote(model)}/generate_stream", body, timeout_s, {}) as lines:
        first = next((line for line in lines if line.startswith(b"data:")), b"data: {}")
        # Triton writes a picture into its JSON as the bytes that it is.
        error = json.loads(first.removeprefix(b"data:").decode(errors="replace")).get("error")
    if error:
        raise UnhealthyError(f"{model} does not answer: {error}")


def ask(model: str, url: str, body: Any, timeout_s: float, binary: bytes = b"") -> Any:
    """Triton's JSON answer; `binary` are the tensors that stand behind the JSON (its binary tensor data extension)."""
    text = json.dumps(body).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    with opened(model, url, text + binary if body else None, timeout_s, headers) as response:
        return json.loads(response.read())


@contextlib.contextmanager
def opened(
    model: str, url: str, body: bytes | None, timeout_s: float, headers: dict[str, str]
) -> Iterator[HTTPResponse]:
    """Triton's answer, while the context lasts."""
    request = Request(url, data=body, headers=headers)  # noqa: S310 - the operator's own URL
    try:
        with urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            yield response
    except HTTPError as error:
        raise UnhealthyError(f"{model} does not answer: {reason(error)}") from None
    except OSError as error:
        raise UnhealthyError(f"{model} does not answer: {getattr(error, 'reason', error)}") from None
    except ValueError:
        raise UnhealthyError(f"{model} answered with something that is no JSON, such as a NaN") from None


def reason(error: HTTPError) -> str:
    """The message in Triton's error answer."""
    body = error.read().decode(errors="replace")
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {body[:200]}"


def tensor(spec: Any, sample: Any) -> dict[str, Any]:
    """One input of a request; samples have no batch dimension, the metadata of a batching model has one."""
    shape = list(sample["shape"]) if isinstance(sample, dict) else [len(content(sample))]
    if len(spec["shape"]) == len(shape) + 1:
        shape = [1, *shape]
    described = {"name": spec["name"], "datatype": spec["datatype"], "shape": shape}
    if is_base64(sample):
        return {**described, "parameters": {"binary_data_size": len(raw(sample))}}
    return {**described, "data": content(sample)}


def is_base64(sample: Any) -> bool:
    """Whether a tensor of the golden samples is written as its raw bytes in base64."""
    return isinstance(sample, dict) and isinstance(sample["content"], dict)


def raw(sample: Any) -> bytes:
    """The bytes of a tensor that is written in base64."""
    return base64.b64decode(sample["content"]["b64"])


def content(sample: Any) -> list[Any]:
    """The values of a tensor of the golden samples, flat; what is written in base64 is UINT8 where it is an output."""
    if is_base64(sample):
        return list(raw(sample))
    values: list[Any] = sample["content"] if isinstance(sample, dict) else sample
    return values


def check_finite(what: str, values: list[Any]) -> None:
    """Refuses a NaN or an infinity."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise UnhealthyError(f"{what} holds a value that is not finite")


def is_float(output: Any) -> bool:
    """Whether an output of Triton's answer holds floating-point numbers."""
    return str(output["datatype"]).startswith("FP")


def check_equal(what: str, got: list[Any], expected: list[Any], tolerance: float) -> None:
    """Refuses another number of values, and a value that is not the expected one to within the tolerance."""
    if len(got) != len(expected):
        raise UnhealthyError(f"{what} has {len(got)} values; expected {len(expected)}")
    for index, (value, right) in enumerate(zip(got, expected, strict=True)):
        if value != right and (not tolerance or abs(value - right) > tolerance):
            raise UnhealthyError(f"{what} is {value!r} at index {index}; expected {right!r}")


if __name__ == "__main__":
    sys.exit(main())
