"""A PyTorch module, served as it is: a model for Triton's Python backend, where no graph can hold the module.

The version folder holds the module's own files and `module.json`, which says how it is made and what it takes:

- `module`: "decoder:Decoder", a file below `source/` as Python imports it, and what in it is the module, or makes it
  when it is called, with `arguments` if there are any. Its state is read out of `weights.safetensors`.
- `inputs`, `outputs`: see `Tensor` and `Output`. Inputs go to `forward` by name.

Reads from config.pbtxt's `parameters`, as Triton's pytorch backend does:

- `INTRA_OP_THREAD_COUNT`: threads within an operator; "0" shares the cores out among the model's instances.
- `INTER_OP_THREAD_COUNT`: threads between operators; "0" is PyTorch's own number.

Requests of equal shapes run together, once; if that fails each of them runs alone, so that a bad one fails alone. It
runs on the device that Triton says of the instance, and on no other.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.utils.dlpack
import triton_python_backend_utils as pb_utils

DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
# What safetensors calls them; the 8-bit floats are called as torch calls them.
_SAFETENSORS_DTYPES = {"I": "INT", "U": "UINT", "F": "FP"}
# Asking Triton whether a request was given up costs 0.1 ms: nothing beside a run of this length.
WORTH_ASKING_S = 0.02
# Whatever a stranger's module raises is an error of the request; `sys.exit` is no reason to end the process.
RAISED = (Exception, SystemExit)

Inputs: TypeAlias = dict[str, torch.Tensor]


class LoadError(RuntimeError):
    """The module cannot be served; the message says why, and the way out."""


class RequestError(ValueError):
    """What a request got wrong; the message is its answer."""


class Cancelled(Exception):
    """The caller has given up."""


@dataclass(frozen=True)
class Tensor:
    """An input or output, as module.json describes it.

    Attributes:
        name: in config.pbtxt and in every request.
        dtype: Triton's name.
        dims: without the batch: a size, or the smallest and the largest.
        number: a row of one, because Triton knows no empty dims: the module takes one number for each item.
    """

    name: str
    dtype: str
    dims: Sequence[int | Sequence[int]]
    number: bool = False

    def check(self, tensor: torch.Tensor) -> None:
        """Holds what a request brought against this.

        Raises:
            RequestError: dtype, rank or a size is another.
        """
        sizes = list(tensor.shape)[1:]
        if tensor.dtype != DTYPES[self.dtype]:
            raise RequestError(f"input {self.name!r} is {_name_of(tensor.dtype)}, expected {self.dtype}.")
        if len(sizes) != len(self.dims):
            raise RequestError(f"input {self.name!r} has {len(sizes)} dimensions, expected {self.shown()}.")
        for size, dim in zip(sizes, self.dims, strict=True):
            low, high = (dim, dim) if isinstance(dim, int) else dim
            if not low <= size <= high:
                raise RequestError(
                    f"input {self.name!r} has dims {sizes}, expected {self.shown()}: {size} is not among the sizes "
                    "that the module is declared for."
                )

    def shown(self) -> str:
        """The dims in words: `[3, 1 to 64]`."""
        return f"[{', '.join(str(dim) if isinstance(dim, int) else f'{dim[0]} to {dim[1]}' for dim in self.dims)}]"


@dataclass(frozen=True)
class Output(Tensor):
    """An output.

    Attributes:
        place: where it stands in what `forward` returns, as Python would reach it.
        batch: its dimension that is the batch.
    """

    place: str = ""
    batch: int = 0


class Log:
    """Where a module's prints go: a line of Triton's log for each line."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._begun = ""

    def write(self, text: str) -> int:
        """Logs each line that is complete."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            pb_utils.Logger.log_info(f"{self._instance}: {line}")
        return len(text)

    def flush(self) -> None:
        """Logs what has no end yet."""
        if self._begun:
            self.write("\n")


class TritonPythonModel:
    """One instance of the module."""

    def initialize(self, args: dict[str, str]) -> None:
        """Makes the module, in eval mode, on the instance's device.

        Args:
            args: Triton's description of the instance.

        Raises:
            LoadError: the module cannot be made, or config.pbtxt contradicts module.json.
        """
        config = json.loads(args["model_config"])
        self.folder = Path(args["model_repository"]) / args["model_version"]
        description = json.loads((self.folder / "module.json").read_text())
        self.inputs = [Tensor(**each) for each in description["inputs"]]
        self.outputs = [Output(**each) for each in description["outputs"]]
        if not config["max_batch_size"]:
            raise LoadError("max_batch_size is 0 in config.pbtxt, and the module takes batches. Write 1 or more.")
        _check_config("input", self.inputs, config["input"])
        _check_config("output", self.outputs, config["output"])
        self.device = device_of(args["model_instance_kind"], int(args["model_instance_device_id"]))
        set_threads(config)
        self.log = Log(args["model_instance_name"])
        with self._printing():
            made = load(self.folder, description["module"], **description.get("arguments", {}))
            self.module = made.float().eval().to(self.device)
        self.seconds_per_request = 0.0
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: torch {torch.__version__} on {self.device}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Runs the module for all requests that Triton batched.

        Args:
            requests: each with every input, [batch, ...] where the model batches.

        Returns:
            A response for each, in order: its outputs, or the error that is its own.
        """
        started = time.perf_counter()
        read = [self._read(request) for request in requests]
        answers: dict[int, list[torch.Tensor] | BaseException] = {}
        for places in self._alike(read):
            answers.update(zip(places, self._answers([read[place] for place in places]), strict=True))  # type: ignore[misc]
        self.seconds_per_request = (time.perf_counter() - started) / len(requests)
        return [self._response(answers.get(place, item)) for place, item in enumerate(read)]

    def _read(self, request: Any) -> Inputs | BaseException:
        if self.seconds_per_request >= WORTH_ASKING_S and request.is_cancelled():
            return Cancelled("the request was cancelled before it ran")
        try:
            inputs = {each.name: _read(each, request) for each in self.inputs}
            for each in self.inputs:
                each.check(inputs[each.name])
            if len({len(tensor) for tensor in inputs.values()}) > 1:
                sizes = ", ".join(f"{name!r} {len(tensor)}" for name, tensor in inputs.items())
                raise RequestError(f"the inputs have different numbers of items: {sizes}.")
        except RequestError as error:
            return error
        return inputs

    def _alike(self, read: Sequence[Inputs | BaseException]) -> list[list[int]]:
        """The places of the requests that can run together."""
        groups: dict[Any, list[int]] = {}
        for place, item in enumerate(read):
            if isinstance(item, dict):
                groups.setdefault(tuple(tensor.shape[1:] for tensor in item.values()), []).append(place)
        return list(groups.values())

    def _answers(self, group: Sequence[Inputs]) -> list[list[torch.Tensor] | BaseException]:
        """The outputs of each, or why there are none; a batch that fails runs again, each request alone."""
        try:
            return list(self._run(group))
        except RAISED as error:
            if len(group) > 1:
                return [answer for item in group for answer in self._answers([item])]
            pb_utils.Logger.log_error("".join(traceback.format_exception(error)).rstrip())
            return [error]

    def _run(self, group: Sequence[Inputs]) -> list[list[torch.Tensor]]:
        """Runs the module once; `forward` gets memory of its own, so that it may write into its inputs."""
        with torch.inference_mode(), self._printing():
            joined = {each.name: self._joined(each, [item[each.name] for item in group]) for each in self.inputs}
            returned = outputs_of(self.module(**joined), self.outputs)
        sizes = [len(next(iter(item.values()))) for item in group]
        for each, tensor in zip(self.outputs, returned, strict=True):
            if len(tensor) != sum(sizes):
                raise RuntimeError(
                    f"output {each.name!r} has {list(tensor.shape)} for {sum(sizes)} items: its first dimension must "
                    "be the batch."
                )
        return [list(parts) for parts in zip(*(torch.split(tensor, sizes) for tensor in returned), strict=True)]

    def _joined(self, declared: Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat(list(tensors))
        return (joined.squeeze(1) if declared.number else joined).to(self.device)

    def _response(self, answer: Any) -> Any:
        if isinstance(answer, BaseException):
            return pb_utils.InferenceResponse(error=self._error(answer))
        return pb_utils.InferenceResponse(
            [_triton_tensor(each.name, tensor) for each, tensor in zip(self.outputs, answer, strict=True)]
        )

    def _error(self, error: BaseException) -> Any:
        codes = pb_utils.TritonError
        if isinstance(error, Cancelled):
            return codes(str(error), codes.CANCELLED)
        if isinstance(error, RequestError):
            return codes(str(error), codes.INVALID_ARG)
        return codes(f"the module failed{place_of(error, self.folder)}: {in_words(error)}", codes.INTERNAL)

    @contextlib.contextmanager
    def _printing(self) -> Iterator[None]:
        with contextlib.redirect_stdout(self.log):
            yield
        self.log.flush()


def device_of(kind: str, device_id: int) -> torch.device:
    """The device that Triton says of an instance; what a module calls "cuda" is that one.

    Raises:
        LoadError: the GPU is not there for this PyTorch, or the kind names no device.
    """
    if kind == "CPU":
        # Read when CUDA is first used, which it is not yet: a module that asks for a GPU nevertheless finds none.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    if kind != "GPU":
        raise LoadError(
            f"this instance is KIND_{kind}, which says nothing of its device. Write KIND_CPU, or KIND_GPU with `gpus`, "
            "into instance_group of config.pbtxt."
        )
    if device_id >= torch.cuda.device_count():
        raise LoadError(
            f"this instance is KIND_GPU on GPU {device_id}, and torch {torch.__version__} finds "
            f"{torch.cuda.device_count()} GPUs. Install a CUDA build of torch for {sys.executable}, or set "
            "instance_group [ { kind: KIND_CPU } ] in config.pbtxt."
        )
    torch.cuda.set_device(device_id)
    return torch.device("cuda", device_id)


def set_threads(config: Mapping[str, Any]) -> None:
    """Sets PyTorch's threads: as config.pbtxt says, or so that the instances do not take the cores from one another.

    Raises:
        LoadError: a parameter is no number.
    """
    instances = sum(int(group["count"]) for group in config["instance_group"])
    intra_op, inter_op = (_integer(config["parameters"], f"{kind}_OP_THREAD_COUNT") for kind in ("INTRA", "INTER"))
    torch.set_num_threads(intra_op or max(1, len(os.sched_getaffinity(0)) // instances))
    if inter_op:
        torch.set_num_interop_threads(inter_op)


def _integer(parameters: Mapping[str, Mapping[str, str]], name: str) -> int:
    value = parameters.get(name, {}).get("string_value", "0")
    if not value.isdigit():
        raise LoadError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a whole number as string_value, 0 for PyTorch's "
            "own. Mend it in config.pbtxt."
        )
    return int(value)


def _check_config(role: str, tensors: Sequence[Tensor], config: Sequence[Mapping[str, Any]]) -> None:
    """Triton checks requests against config.pbtxt, which people edit."""
    declared = {each.name: each.dtype for each in tensors}
    stated = {each["name"]: each["data_type"].removeprefix("TYPE_") for each in config}
    if declared != stated:
        raise LoadError(
            f"config.pbtxt has the {role}s {stated}, the module {declared}. Write what the module has into it."
        )


def load(folder: Path, module: str, **arguments: Any) -> torch.nn.Module:
    """Makes a version's module and fills in its weights.

    Args:
        folder: the version.
        module: "decoder:Decoder".
        arguments: of what makes it.

    Raises:
        LoadError: what was made is no module, a package is missing, or the weights are not the module's.
    """
    try:
        made = make(folder / "source", module, **arguments)
    except RAISED as error:
        missing = (
            f" Install it where this model runs: {sys.executable} -m pip install {error.name}"
            if isinstance(error, ModuleNotFoundError)
            else ""
        )
        raise LoadError(f"{module} was not made{place_of(error, folder)}: {in_words(error)}.{missing}") from error
    try:
        made.load_state_dict(read_safetensors(folder / "weights.safetensors"))
    except RAISED as error:
        raise LoadError(f"weights.safetensors does not fit {module}: {' '.join(str(error).split())}") from error
    return made


def make(source: Path, module: str, **arguments: Any) -> torch.nn.Module:
    """Imports a user's file, which may import what lies beside it, and makes the module. Nothing is written there."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(source))
    file, name = module.split(":")
    found = getattr(importlib.import_module(file), name)
    made = found if isinstance(found, torch.nn.Module) else found(**arguments)
    if not isinstance(made, torch.nn.Module):
        raise LoadError(f"it makes a {type(made).__name__}, expected a torch.nn.Module")
    return made


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file: a length (8 bytes), that much JSON, then the data.

    https://github.com/huggingface/safetensors#format
    """
    content = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    table: dict[str, Any] = json.loads(content[8:start].tobytes())
    table.pop("__metadata__", None)
    return {name: _tensor(content[start:], entry) for name, entry in table.items()}


def _tensor(data: Any, entry: Mapping[str, Any]) -> torch.Tensor:
    begin, end = entry["data_offsets"]
    dtype = _safetensors_dtype(entry["dtype"])
    if begin == end:
        return torch.empty(entry["shape"], dtype=dtype)
    return torch.from_numpy(np.array(data[begin:end])).view(dtype).reshape(entry["shape"])


def _safetensors_dtype(name: str) -> torch.dtype:
    kind, bits = name.rstrip("0123456789"), name.lstrip("BFIU")
    found = DTYPES.get(f"{_SAFETENSORS_DTYPES.get(kind, kind)}{bits}") or DTYPES.get(name)
    if found is None:
        raise LoadError(f"tensors of the type {name} are not read")
    return found


def outputs_of(returned: Any, outputs: Sequence[Output]) -> list[torch.Tensor]:
    """The declared outputs out of what a module returned, the batch first, in CPU memory.

    Raises:
        RuntimeError: one is not there, or is of another dtype.
    """
    return [_checked(each, reach(returned, each.place)) for each in outputs]


def reach(returned: Any, place: str) -> Any:
    """What stands at a place of an answer: `logits`, `states[1]`, `[0].scores`; nothing for the answer itself.

    Raises:
        RuntimeError: nothing stands there.
    """
    found = returned
    for index, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", place):
        try:
            keyed = isinstance(found, Mapping)
            found = found[int(index)] if index else found[name] if keyed else getattr(found, name)
        except (LookupError, AttributeError, TypeError):
            raise RuntimeError(f"forward returned a {type(returned).__name__} without {place!r}") from None
    return found


def _checked(declared: Output, tensor: Any) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise RuntimeError(f"output {declared.name!r} is a {type(tensor).__name__}, expected a tensor")
    if tensor.dtype != DTYPES[declared.dtype]:
        raise RuntimeError(f"output {declared.name!r} is {_name_of(tensor.dtype)}, expected {declared.dtype}")
    if tensor.dim() == 0:
        raise RuntimeError(f"output {declared.name!r} is a scalar, expected one value for each item")
    first = tensor.movedim(declared.batch, 0) if declared.batch else tensor
    return (first.unsqueeze(1) if first.dim() == 1 else first).cpu().contiguous()


def _read(declared: Tensor, request: Any) -> torch.Tensor:
    found = pb_utils.get_input_tensor_by_name(request, declared.name)
    if found is None:
        raise RequestError(f"input {declared.name!r} is missing.")
    # numpy has no bfloat16, and no memory of a GPU.
    if declared.dtype == "BF16" or not found.is_cpu():
        tensor: torch.Tensor = torch.utils.dlpack.from_dlpack(found)
        return tensor
    return torch.from_numpy(np.require(found.as_numpy(), requirements=["C", "W"]))


def _triton_tensor(name: str, tensor: torch.Tensor) -> Any:
    if tensor.dtype == torch.bfloat16:
        return pb_utils.Tensor.from_dlpack(name, tensor)
    return pb_utils.Tensor(name, tensor.numpy())


def _name_of(dtype: torch.dtype) -> str:
    return next((name for name, each in DTYPES.items() if each == dtype), str(dtype))


def place_of(error: BaseException, folder: Path) -> str:
    """Where in the user's own files an error arose: ` at source/decoder.py:41`, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder) and frame.filename != __file__]
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    return f" at {Path(own[-1].filename).relative_to(folder)}:{own[-1].lineno}" if own else ""


def in_words(error: BaseException) -> str:
    """An error in one line, with its kind."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    text = " ".join(str(error).partition("Exception raised from")[0].split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
