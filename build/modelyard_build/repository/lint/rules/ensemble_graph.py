"""What the rules about ensembles share: their steps, and the tensors between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelyard_build.repository.layout import CONFIGS, FILENAME
from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.rules.tensor_texts import VARIABLE, model_py_may_complete
from modelyard_build.repository.lint.subjects import Config, Model

# Backends that complete nothing where inputs and outputs are listed; openvino, where max_batch_size is, too.
_TAKE_WHAT_IS_LISTED = ("onnxruntime", "pytorch", "ensemble")


@dataclass(frozen=True)
class Step:
    """A step of an ensemble.

    Attributes:
        config: the ensemble's.
        index: among the steps.
        message: what the config says of it.
    """

    config: Config
    index: int
    message: Any

    @property
    def path(self) -> tuple[str, str, int]:
        """Where it stands."""
        return "ensemble_scheduling", "step", self.index

    @property
    def name(self) -> str:
        """Of its model."""
        return str(self.message.model_name)

    @property
    def model(self) -> Model | None:
        """Its model, out of the ensemble's repository or another one of the server; None where there is none."""
        own = self.config.model.repository
        return next((each.models[self.name] for each in (own, *own.beside) if self.name in each.models), None)

    @property
    def tensors(self) -> Config | None:
        """The config of its model; None where that does not tell all of its inputs and outputs."""
        config = config_beside(self.config, self.model) if self.model else None
        return config if config is not None and _tells_its_tensors(config) else None

    def __str__(self) -> str:
        return f"step {self.index} ({self.name})" if self.name else f"step {self.index}"


@dataclass(frozen=True)
class Use:
    """A place where a tensor of an ensemble is read or written.

    Attributes:
        owner: "the ensemble", or a step.
        dtype: number of the type there.
        dims: there, without the batch.
        has_batch: whether the batch comes before them.
        path: where it is stated.
    """

    owner: str
    dtype: int
    dims: tuple[int, ...]
    has_batch: bool
    path: tuple[str | int, ...]

    @property
    def full(self) -> tuple[int, ...]:
        """The dims with the batch."""
        return (VARIABLE, *self.dims) if self.has_batch else self.dims

    def fits(self, other: Use) -> bool:
        """Whether Triton takes the two for one tensor: their dims are alike without the batch, or with it."""
        return _alike(self.dims, other.dims) or _alike(self.full, other.full)


@dataclass(frozen=True)
class Graph:
    """The tensors of an ensemble and its steps.

    Attributes:
        config: the ensemble's.
        steps: in its order.
    """

    config: Config
    steps: list[Step]

    @cached_property
    def inputs(self) -> list[str]:
        """What a request gives."""
        return [message.name for message in self.config.message.input]

    @cached_property
    def outputs(self) -> list[str]:
        """What an answer has."""
        return [message.name for message in self.config.message.output]

    @cached_property
    def read(self) -> dict[str, tuple[Step, str]]:
        """The first step that reads a tensor, and the name of its own input, by the tensor."""
        found: dict[str, tuple[Step, str]] = {}
        for step in self.steps:
            for key, tensor in step.message.input_map.items():
                found.setdefault(tensor, (step, key))
        return found

    @cached_property
    def written(self) -> dict[str, list[tuple[Step, str]]]:
        """The steps that write a tensor, and the names of their own outputs, by the tensor."""
        found: defaultdict[str, list[tuple[Step, str]]] = defaultdict(list)
        for step in self.steps:
            for key, tensor in step.message.output_map.items():
                found[tensor].append((step, key))
        return dict(found)

    @cached_property
    def ready(self) -> set[str]:
        """The tensors that are there once every step that can has run."""
        missing = [set(step.message.input_map.values()) for step in self.steps]
        readers: defaultdict[str, list[int]] = defaultdict(list)
        for index, tensors in enumerate(missing):
            for tensor in tensors:
                readers[tensor].append(index)
        ready: set[str] = set()
        waiting = list(self.inputs)
        while waiting:
            tensor = waiting.pop()
            if tensor in ready:
                continue
            ready.add(tensor)
            for index in readers[tensor]:
                missing[index].discard(tensor)
                if not missing[index]:
                    waiting += self.steps[index].message.output_map.values()
        return ready

    @cached_property
    def circle(self) -> str | None:
        """A tensor that is made out of itself; None where none is, or others are missing, too."""
        waiting = [tensor for tensor in self.read if tensor not in self.ready]
        if not waiting or any(tensor not in self.written for tensor in waiting):
            return None
        tensor, seen = waiting[0], set[str]()
        while tensor not in seen:
            seen.add(tensor)
            step, _ = self.written[tensor][0]
            tensor = next(source for source in step.message.input_map.values() if source not in self.ready)
        return tensor


@remembered
def steps_of(config: Config) -> list[Step]:
    """The steps of an ensemble; none where the config is not one."""
    if not config.is_ensemble:
        return []
    return [Step(config, index, message) for index, message in enumerate(config.message.ensemble_scheduling.step)]


@remembered
def graph_of(config: Config) -> Graph:
    """The graph of the steps that have all their parts; without any where one has not, which is told of already."""
    steps = steps_of(config)
    whole = all(step.message.input_map and step.message.output_map for step in steps)
    return Graph(config, steps if whole else [])


def config_beside(config: Config, model: Model) -> Config | None:
    """The config of another model that is read where this one is; None where there is none that can be parsed."""
    own = config.path.name if config.path.parent.name == CONFIGS else FILENAME
    named = {each.path.name: each for each in model.configs}
    found = named.get(own) or named.get(FILENAME)
    return found if found is not None and found.is_valid else None


def _tells_its_tensors(config: Config) -> bool:
    """Whether nothing is completed: inputs and outputs are listed, and no model.py adds to them."""
    if not (config.message.input and config.message.output):
        return False
    if config.backend == "python":
        return not model_py_may_complete(config)
    return config.backend in _TAKE_WHAT_IS_LISTED or (
        config.backend == "openvino" and config.message.max_batch_size > 0
    )


def pairs(config: Config) -> Iterator[tuple[str, Use, Use]]:
    """Each tensor with its first use, which sets what it is, and another one."""
    firsts: dict[str, Use] = {}
    for tensor, use in _uses(config):
        first = firsts.setdefault(tensor, use)
        if first is not use:
            yield tensor, first, use


def _uses(config: Config) -> Iterator[tuple[str, Use]]:
    """In Triton's order: the ensemble's inputs, its outputs, then step by step."""
    message = config.message
    if not config.is_ensemble:
        return
    for kind, listed in (("input", message.input), ("output", message.output)):
        for index, tensor in enumerate(listed):
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            # Without a type or dims it is refused itself.
            if tensor.data_type and tensor.dims:
                has_batch = message.max_batch_size > 0
                yield tensor.name, Use("the ensemble", tensor.data_type, tuple(dims), has_batch, (kind, index))
    for step in steps_of(config):
        if step.tensors:
            yield from _uses_of(step, step.tensors.message, "input")
            yield from _uses_of(step, step.tensors.message, "output")


def _uses_of(step: Step, message: Any, kind: str) -> Iterator[tuple[str, Use]]:
    mapped = getattr(step.message, f"{kind}_map")
    for tensor in getattr(message, kind):
        if tensor.name in mapped and tensor.data_type and tensor.dims:
            path = (*step.path, f"{kind}_map", tensor.name)
            use = Use(str(step), tensor.data_type, tuple(tensor.dims), message.max_batch_size > 0, path)
            yield mapped[tensor.name], use


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(a == b or VARIABLE in (a, b) for a, b in zip(one, other, strict=True))
