"""MY5xx: ensembles: what may stand in one, its steps, and the tensors between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelyard_build.repository.layout import CONFIGS, FILENAME
from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import (
    VARIABLE,
    brackets,
    did_you_mean,
    dtype_name,
    model_py_may_complete,
)
from modelyard_build.repository.lint.subjects import Config, Model

# The model_version that means the newest.
NEWEST = -1
_FORBIDDEN = ("instance_group", "optimization", "model_warmup")
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
        config = _config_beside(self.config, self.model) if self.model else None
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


@rule(
    "MY501",
    Severity.ERROR,
    summary="a field that an ensemble may not have",
    mend="Take the field away; it belongs in the configs of the steps' models.",
    verdict=Verdict.REFUSES,
)
def field_is_forbidden(config: Config) -> Findings:
    """An ensemble runs nothing itself: it has no backend, no instances, nothing to optimise or to warm up.

    Triton says `instance group should not be specified for ensemble '…'`, `optimization should not be specified for
    ensemble '…'`, `model_warmup can not be specified for ensemble '…'`, or `Ensemble model '…' must have platform type
    'ensemble' and empty backend type`.
    """
    message = config.message
    if message.platform != "ensemble":
        return
    if message.backend:
        yield config.raised(
            f"an ensemble has no backend, and {message.backend!r} is stated; take it away",
            "backend",
            fix=without(config, "backend"),
        )
    if message.HasField("ensemble_scheduling"):
        for name in _FORBIDDEN:
            if config.states(name) and not _is_empty(config, name):
                yield config.raised(f"an ensemble has no {name}; state it in the configs of its steps", name)


@rule(
    "MY502",
    Severity.ERROR,
    summary="an ensemble without steps",
    mend="Write `ensemble_scheduling` with a `step` for each model.",
    verdict=Verdict.REFUSES,
)
def ensemble_without_steps(config: Config) -> Findings:
    """Triton says `must specify 'step' for ensemble '…'`, or `ensemble scheduling must be set for ensemble …`."""
    if config.is_ensemble and not config.message.ensemble_scheduling.step:
        field = "ensemble_scheduling" if config.states("ensemble_scheduling") else "platform"
        yield config.raised("the ensemble has no step; write one for each of its models", field)


@rule(
    "MY503",
    Severity.ERROR,
    summary="steps in a model that is no ensemble",
    mend='Write `platform: "ensemble"`, and no backend.',
    verdict=Verdict.REFUSES,
)
def steps_without_the_platform(config: Config) -> Findings:
    """Triton says `ensemble scheduling cannot be set for model '…' whose platform is not ensemble`.

    Without platform and backend it cannot tell what the model is: `Could not determine backend for model '…'`.
    """
    if config.message.HasField("ensemble_scheduling") and not config.is_ensemble:
        what = config.message.platform or config.message.backend
        yield config.raised(
            f'ensemble_scheduling stands in a model of {what!r}; write platform: "ensemble" and no backend'
            if what
            else 'ensemble_scheduling stands without platform: "ensemble"; write it',
            "ensemble_scheduling",
        )


@rule(
    "MY504",
    Severity.ERROR,
    summary="a step without model_name, input_map or output_map",
    mend="State the step's model, and a tensor of the ensemble for each of its inputs and outputs.",
    verdict=Verdict.REFUSES,
)
def step_is_incomplete(config: Config) -> Findings:
    """Triton says `must specify 'input_map' in step 0 of ensemble '…'`, and likewise of the others."""
    for step in _steps(config):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step.message, field):
                yield config.raised(f"{step} has no {field}; state it", *step.path)


@rule(
    "MY505",
    Severity.ERROR,
    summary="a step of a model that is not there",
    mend="Correct model_name, or publish the model into a repository of the same server.",
    verdict=Verdict.REFUSES,
)
def model_is_not_there(config: Config) -> Findings:
    """Triton says `ensemble … contains models that are not available or ambiguous: …`.

    A model may stand in another repository of the same server; where only one is linted, that cannot be seen.
    """
    for step in _steps(config):
        if step.name and step.model is None:
            close = did_you_mean(step.name, config.model.repository.models)
            yield config.raised(
                f"there is no model {step.name!r} in the repository{close or '; publish it, or correct model_name'}",
                *(*step.path, "model_name"),
            )


@rule(
    "MY506",
    Severity.ERROR,
    summary="a step of a version that is not served",
    mend="Write `model_version: -1`, the newest version, or one that version_policy of the step's model serves.",
    verdict=Verdict.REFUSES,
)
def version_is_not_served(config: Config) -> Findings:
    """A step without model_version asks for version 0, not for the newest.

    Triton says `ensemble '…' depends on '…' whose required version 0 is not loaded`.
    """
    for step in _steps(config):
        version = step.message.model_version
        if version == NEWEST or step.model is None:
            continue
        model = _config_beside(config, step.model)
        served = [each.number for each in model.served] if model is not None else None
        # Without a version the step's model is refused itself.
        if served and version not in served:
            stated = config.states(*step.path, "model_version")
            asks = f"asks for version {version}" if stated else "has no model_version, which asks for version 0"
            yield config.raised(
                f"{step} {asks}, served is {', '.join(map(str, served))}; write model_version: -1",
                *(*step.path, "model_version"),
            )


@rule(
    "MY507",
    Severity.ERROR,
    summary="ensembles that are steps of one another",
    mend="Take the step away that leads back.",
    verdict=Verdict.REFUSES,
)
def ensemble_is_its_own_step(config: Config) -> Findings:
    """Triton says `circular dependency between ensembles: m -> ... -> n -> m`."""
    for step in _steps(config):
        if step.model is not None and _leads_to(step.model, config):
            yield config.raised(
                f"{step} leads back to {config.model.name!r}; take it away", *(*step.path, "model_name")
            )


@rule(
    "MY508",
    Severity.ERROR,
    summary="an input of a step's model is not mapped",
    mend="Add an `input_map` for it.",
    verdict=Verdict.REFUSES,
)
def input_is_not_mapped(config: Config) -> Findings:
    """Every input that is not optional takes a tensor of the ensemble.

    Triton says `in ensemble …, input … in model … is not mapped to any ensemble tensors`.
    """
    for step in _steps(config):
        for message in step.tensors.message.input if step.tensors else ():
            # A step without any map is told of already.
            if step.message.input_map and message.name not in step.message.input_map and not message.optional:
                yield config.raised(
                    f"{step}: nothing is mapped to its input {message.name!r}; add an input_map", *step.path
                )


@rule(
    "MY509",
    Severity.ERROR,
    summary="a map names a tensor that the step's model has not",
    mend="Correct the map's key: it is the name in the step's model, the value that in the ensemble.",
    verdict=Verdict.REFUSES,
)
def mapped_tensor_is_unknown(config: Config) -> Findings:
    """Triton says `in ensemble …, ensemble tensor … is mapping to non-existing input … in model …`.

    Key and value are often mixed up: the key is the step's name of the tensor.
    """
    for step in _steps(config):
        if step.tensors is None:
            continue
        for field, listed in (("input_map", step.tensors.message.input), ("output_map", step.tensors.message.output)):
            names = [message.name for message in listed]
            for key in getattr(step.message, field):
                if key not in names:
                    kind = field.partition("_")[0]
                    yield config.raised(
                        f"{step} has no {kind} {key!r}, it has {', '.join(names)}{did_you_mean(key, names)}",
                        *(*step.path, field, key),
                    )


@rule(
    "MY510",
    Severity.ERROR,
    summary="a step reads a tensor that never comes to be",
    mend="Map the input to a tensor that the ensemble is given, or that an earlier step writes.",
    verdict=Verdict.REFUSES,
)
def tensor_is_never_written(config: Config) -> Findings:
    """A tensor is an input of the ensemble or the output of a step, and steps may not wait for one another.

    Triton says `ensemble tensor '…' is unused in ensemble '…'`, or `output '…' for ensemble '…' is not written: at
    least one of its depending tensors, '…', is not connected`.
    """
    graph = _graph(config)
    for tensor, (step, key) in graph.read.items():
        place = (*step.path, "input_map", key)
        if tensor == graph.circle:
            yield config.raised(f"{tensor!r} is made out of itself: the steps wait for one another in a circle", *place)
        elif tensor not in graph.ready and tensor not in graph.written:
            known = [*graph.inputs, *graph.written]
            yield config.raised(f"no step writes {tensor!r}, and it is no input{did_you_mean(tensor, known)}", *place)


@rule(
    "MY511",
    Severity.ERROR,
    summary="a step writes a tensor that nobody reads",
    mend="Take the `output_map` away, or make the tensor an output of the ensemble.",
    verdict=Verdict.REFUSES,
)
def tensor_is_never_read(config: Config) -> Findings:
    """An output of a step's model that is not needed is simply not mapped.

    Triton says `ensemble tensor '…' is unused in ensemble '…'`.
    """
    graph = _graph(config)
    for tensor, writers in graph.written.items():
        if tensor not in graph.read and tensor not in graph.outputs:
            step, key = writers[0]
            close = did_you_mean(tensor, graph.outputs)
            yield config.raised(
                f"{tensor!r} is written and never read{close or '; take the output_map away'}",
                *(*step.path, "output_map", key),
            )


@rule(
    "MY512",
    Severity.ERROR,
    summary="a tensor that is written twice",
    mend="Give the second one a name of its own.",
    verdict=Verdict.REFUSES,
)
def tensor_is_written_twice(config: Config) -> Findings:
    """A tensor comes from one place.

    Triton says `ensemble tensor '…' can appear in an output map only once for ensemble '…' step 1`. A step that writes
    an input of the ensemble is worse: the model loads, and its requests are never answered.
    """
    graph = _graph(config)
    for tensor, writers in graph.written.items():
        second = writers[:1] if tensor in graph.inputs else writers[1:]
        for step, key in second:
            other = "is an input of the ensemble" if tensor in graph.inputs else f"is written by {writers[0][0]}"
            yield config.raised(
                f"{step} writes {tensor!r}, which {other}; give it a name of its own",
                *(*step.path, "output_map", key),
            )


@rule(
    "MY513",
    Severity.ERROR,
    summary="an output of the ensemble that no step writes",
    mend="Map the output of a step to it.",
    verdict=Verdict.REFUSES,
)
def output_is_not_written(config: Config) -> Findings:
    """Triton says `ensemble output '…' for ensemble …' is not used`."""
    graph = _graph(config)
    for index, name in enumerate(graph.outputs):
        if name and graph.steps and name not in graph.written and name not in graph.read:
            close = did_you_mean(name, [tensor for tensor in graph.written if tensor not in graph.outputs])
            yield config.raised(f"no step writes the output {name!r}{close or '; add an output_map'}", "output", index)


@rule(
    "MY514",
    Severity.ERROR,
    summary="an input of the ensemble that no step reads",
    mend="Map it to an input of a step, or take it away.",
    verdict=Verdict.REFUSES,
)
def input_is_not_read(config: Config) -> Findings:
    """Triton says `ensemble input '…' for ensemble …' is not used`."""
    graph = _graph(config)
    for index, name in enumerate(graph.inputs):
        if name and graph.steps and name not in graph.read and name not in graph.written:
            close = did_you_mean(name, [tensor for tensor in graph.read if tensor not in graph.inputs])
            yield config.raised(f"no step reads the input {name!r}{close or '; add an input_map'}", "input", index)


@rule(
    "MY515",
    Severity.ERROR,
    summary="a tensor has one data_type here and another there",
    mend="State the type that the steps' models have; a step of your own converts.",
    verdict=Verdict.REFUSES,
)
def data_types_differ(config: Config) -> Findings:
    """Triton converts nothing between steps.

    It says `in ensemble …, ensemble tensor …: inconsistent data type: TYPE_FP32 is inferred from model … while
    TYPE_INT32 is inferred from model …`.
    """
    for tensor, first, use in _pairs(config):
        if first.dtype != use.dtype:
            yield config.raised(
                f"{tensor!r} is {dtype_name(use.dtype)} in {use.owner} and {dtype_name(first.dtype)} in {first.owner}",
                *use.path,
            )


@rule(
    "MY516",
    Severity.ERROR,
    summary="a tensor has one shape here and another there",
    mend="State the dims that the steps' models have.",
    verdict=Verdict.REFUSES,
)
def shapes_differ(config: Config) -> Findings:
    """A size may be -1 at one end, nothing else.

    The dims of a step count as they stand in its config, before reshape. Triton says `in ensemble …, ensemble tensor
    …: inconsistent shape: [-1,4] is inferred from model … while [-1,5] is inferred from model …`.
    """
    for tensor, first, use in _pairs(config):
        if first.dtype == use.dtype and not first.fits(use):
            yield config.raised(
                f"{tensor!r} is {brackets(use.full)} in {use.owner} and {brackets(first.full)} in {first.owner}",
                *use.path,
            )


@rule(
    "MY517",
    Severity.ERROR,
    summary="an ensemble takes larger batches than one of its steps",
    mend="Lower the ensemble's max_batch_size to the smallest of its steps.",
    verdict=Verdict.REFUSES,
)
def batch_above_a_step(config: Config) -> Findings:
    """An ensemble does not split batches.

    Triton says `ensemble … allows maximum batch size 8, but it contains model … which only allows maximum batch size
    to be 4`.
    """
    own = config.message.max_batch_size
    for step in _steps(config):
        most = step.tensors.message.max_batch_size if step.tensors else 0
        if 0 < most < own:
            yield config.raised(f"max_batch_size is {own}, and {step} takes {most} at most; lower it", "max_batch_size")


@rule(
    "MY518",
    Severity.WARNING,
    summary="a step that takes no batch in an ensemble that does",
    mend="Set max_batch_size in the step's model, or to 0 in the ensemble.",
    verdict=Verdict.LOADS,
)
def step_takes_no_batch(config: Config) -> Findings:
    """It loads and answers requests of one item, and refuses the first larger one.

    `in ensemble …, unexpected shape for input 'x' for model …. Expected [1,4], got [2,4]`. Where the first of the
    step's dims is -1 the batch passes through.
    """
    for step in _steps(config):
        tensors = step.tensors
        if tensors is None or tensors.message.max_batch_size or config.message.max_batch_size <= 1:
            continue
        fixed = [
            message.name
            for message in tensors.message.input
            if message.name in step.message.input_map and message.dims and message.dims[0] != VARIABLE
        ]
        if fixed:
            yield config.raised(
                f"{step} takes no batch (max_batch_size 0), the ensemble {config.message.max_batch_size}: its input "
                f"{fixed[0]!r} refuses all but one item",
                *(*step.path, "model_name"),
            )


@rule(
    "MY519",
    Severity.WARNING,
    summary="a step that may answer many times",
    mend="See that all clients of the ensemble stream over gRPC, or take the step out.",
    verdict=Verdict.LOADS,
)
def step_is_decoupled(config: Config) -> Findings:
    """An ensemble with a decoupled step is decoupled, too: only a gRPC stream gets its answers.

    Over HTTP: `doesn't support models with decoupled transaction policy`.
    """
    if config.message.model_transaction_policy.decoupled or config.message.response_cache.enable:
        return
    for step in _steps(config):
        if step.tensors and step.tensors.message.model_transaction_policy.decoupled:
            yield config.raised(
                f"{step} is decoupled, so the ensemble answers over gRPC streams alone; say so with "
                "model_transaction_policy { decoupled: true }",
                *(*step.path, "model_name"),
            )


@rule(
    "MY520",
    Severity.ERROR,
    summary="a response cache over a step that may answer many times",
    mend="Take response_cache away.",
    verdict=Verdict.REFUSES,
)
def cache_over_a_decoupled_step(config: Config) -> Findings:
    """Triton says `Response Cache does not currently support model … with 'decoupled' transaction policy`."""
    if not config.message.response_cache.enable or config.message.model_transaction_policy.decoupled:
        return
    for step in _steps(config):
        if step.tensors and step.tensors.message.model_transaction_policy.decoupled:
            yield config.raised(
                f"{step} is decoupled, so the ensemble cannot have a response cache; take it away", "response_cache"
            )


@rule(
    "MY521",
    Severity.WARNING,
    summary="an optional input of an ensemble that a step must have",
    mend="Take `optional` away, or make the step's input optional.",
    verdict=Verdict.LOADS,
)
def optional_input_is_needed(config: Config) -> Findings:
    """A request without it is accepted, and fails inside the ensemble.

    `in ensemble …, expected 1 inputs but got 0 inputs for model …`.
    """
    graph = _graph(config)
    for index, message in enumerate(config.message.input):
        if message.optional and message.name in graph.read:
            step, key = graph.read[message.name]
            needed = {each.name for each in step.tensors.message.input if not each.optional} if step.tensors else set()
            if key in needed:
                yield config.raised(
                    f"input {message.name!r} is optional, and {step} must have it; take optional away",
                    *("input", index, "optional"),
                )


@remembered
def _steps(config: Config) -> list[Step]:
    if not config.is_ensemble:
        return []
    return [Step(config, index, message) for index, message in enumerate(config.message.ensemble_scheduling.step)]


@remembered
def _graph(config: Config) -> Graph:
    """Of the steps that have all their parts; without any where one has not, which is told of already."""
    steps = _steps(config)
    whole = all(step.message.input_map and step.message.output_map for step in steps)
    return Graph(config, steps if whole else [])


def _is_empty(config: Config, name: str) -> bool:
    """Whether a repeated field is stated as an empty list, which is nothing."""
    value = getattr(config.message, name)
    return hasattr(value, "__len__") and not len(value)


def _config_beside(config: Config, model: Model) -> Config | None:
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


def _leads_to(model: Model, config: Config) -> bool:
    """Whether the steps of a model, or theirs, are the ensemble's own."""
    seen: set[str] = set()
    waiting = [model]
    while waiting:
        current = waiting.pop()
        if current.folder == config.model.folder:
            return True
        if current.name not in seen and (beside := _config_beside(config, current)):
            seen.add(current.name)
            waiting += [step.model for step in _steps(beside) if step.model is not None]
    return False


def _pairs(config: Config) -> Iterator[tuple[str, Use, Use]]:
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
    for step in _steps(config):
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
