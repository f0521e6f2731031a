"""config.pbtxt: written where none stands, read and held against the artefact where one does.

The file belongs to the people who operate the model. What is here never changes a file that exists; `agreement` says
what a rebuild changes in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard_build.errors import ConfigContradiction
from modelyard_build.model import AnyModel, DynamicBatching, Ensemble, Model, PythonModel, Tensor
from modelyard_build.repository import cc_model_filenames
from modelyard_build.repository.layout import BACKEND_OF_PLATFORM, CONFIGS, DEFAULT_FILENAMES, FILENAME
from modelyard_build.repository.lint.subjects import MAX_CONFIG_BYTES
from modelyard_build.repository.model_config import model_config_pb2
from modelyard_build.repository.text_format.binding import Bound, bind
from modelyard_build.repository.text_format.binding import Path as FieldPath
from modelyard_build.repository.text_format.syntax import Document, parse

# config.pbtxt names strings differently from the protocol; every other datatype only gets a prefix.
_DATA_TYPES = {"BYTES": "TYPE_STRING"}
# Of what is wrong with a config, in one message.
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Serving:
    """The lines of a config that depend on the artefact that is served.

    Attributes:
        backend: Triton's name of the backend.
        filename: the artefact's main file in the version folder.
        platform: where the backend tells kinds of files apart by it.
        instance_kind: the `kind` of the instance_group.
        parameters: beyond those that every artefact of the backend has.
        cpu_accelerator: the CPU execution accelerator's name.
        gpu_accelerator: the GPU execution accelerator's name and parameters.
        plans: a plan's file for each compute capability, in place of `filename`.
        profiles: how many optimization profiles the artefact has.
    """

    backend: str = "onnxruntime"
    filename: str = "model.onnx"
    platform: str = ""
    instance_kind: str = "KIND_AUTO"
    parameters: Mapping[str, str] = field(default_factory=dict)
    cpu_accelerator: str = ""
    gpu_accelerator: tuple[str, Mapping[str, str]] | None = None
    plans: Mapping[str, str] = field(default_factory=dict)
    profiles: int = 1


PORTABLE = Serving()


def data_type(tensor: Tensor) -> str:
    """The tensor's `data_type` in config.pbtxt."""
    return _DATA_TYPES.get(tensor.dtype, f"TYPE_{tensor.dtype}")


def render(
    model: AnyModel, warmup: Sequence[Tensor] = (), serving: Serving = PORTABLE, notes: Sequence[str] = ()
) -> str:
    """A first config with a comment at each setting that an operator may want to change.

    Args:
        model: the declaration.
        warmup: the inputs for which warmup files stand, each with its fixed dims.
        serving: for a PyTorch model, the artefact that is served.
        notes: lines for the head of the file: why it says what it says.
    """
    parts = [f"# {model.summary}.", *(f"# {note}" for note in notes), *_kind(model, serving)]
    parts += ["", f"max_batch_size: {model.max_batch_size}"]
    parts += [_tensors("input", model.inputs), _tensors("output", model.outputs)]
    if isinstance(model, Ensemble):
        parts += ["", _steps(model)]
    else:
        parts += ["", _batching(model.dynamic_batching), "", _instances(model, serving)]
        if isinstance(model, PythonModel):
            parts += ["", *_parameters(model)]
        elif settings := _settings(serving):
            parts += ["", *settings]
        if warmup:
            parts += ["", _warmup(warmup)]
    return "\n".join([*parts, "", _VERSION_POLICY, ""])


def _kind(model: AnyModel, serving: Serving) -> list[str]:
    if isinstance(model, Ensemble):
        return ['platform: "ensemble"']
    if isinstance(model, PythonModel):
        return ['backend: "python"']
    lines = [f'backend: "{serving.backend}"']
    lines += [f'platform: "{serving.platform}"'] if serving.platform else []
    if serving.plans:
        return [*lines, cc_model_filenames.render(serving.plans)]
    named = serving.filename != DEFAULT_FILENAMES[serving.backend]
    return [*lines, f'default_model_filename: "{serving.filename}"'] if named else lines


def _tensors(role: str, tensors: Iterable[Tensor]) -> str:
    rows = []
    for tensor in tensors:
        labels = ', label_filename: "labels.txt"' if tensor.labels else ""
        dims = ", ".join(map(str, tensor.config_dims))
        rows.append(f'  {{ name: "{tensor.name}", data_type: {data_type(tensor)}, dims: [ {dims} ]{labels} }}')
    return f"{role} [\n" + ",\n".join(rows) + "\n]"


def _batching(batching: DynamicBatching) -> str:
    return f"""\
# Without this block Triton runs every request on its own. Requests that wait are joined up to max_batch_size;
# preferred_batch_size is left out on purpose: it would cap the batches.
dynamic_batching {{
  # How long the first request of a batch may wait for company. A lone request always waits this long.
  max_queue_delay_microseconds: {batching.max_queue_delay_microseconds}
  default_queue_policy {{
    # Requests that may wait; the next one is refused at once instead of making all of them late.
    max_queue_size: {batching.max_queue_size}
    # A request that waited longer is refused: its caller has given up. 0 waits for ever.
    default_timeout_microseconds: {batching.default_timeout_microseconds}
    # A request may ask for less: a client's deadline counts here too. (Triton takes only a timeout below the default.)
    allow_timeout_override: true
    timeout_action: REJECT
  }}
}}"""


def _instances(model: Model | PythonModel, serving: Serving) -> str:
    if isinstance(model, PythonModel):
        return f"""\
# Instances are processes that run batches side by side.
instance_group [ {{ count: {model.instance_count}, kind: KIND_CPU }} ]"""
    # Triton serves profile 0 alone unless each is listed.
    listed = ", ".join(f'"{number}"' for number in range(serving.profiles))
    profiles = f", profile: [ {listed} ]" if serving.profiles > 1 else ""
    group = f"instance_group [ {{ count: {model.instance_count}, kind: {serving.instance_kind}{profiles} }} ]"
    why = "# Two instances: one computes while the other takes its inputs and sends its answers."
    if serving.instance_kind == "KIND_AUTO":
        why += " KIND_AUTO: on each GPU where there\n# are any, else on the CPU."
    if serving.backend != "onnxruntime":
        return f"{why}\n{group}"
    return f"""\
{why}
{group}
# Each may use every core (0), so that a lone request is fast. In NVIDIA's container on a CPU the threads of both
# instances spin while they wait and take the cores from one another: there set count to 1.
parameters {{ key: "intra_op_thread_count", value: {{ string_value: "0" }} }}"""


# What an operator must know of a backend's settings.
_REMARKS = {
    "ENABLE_BATCH_PADDING": """\
# NVIDIA's container computes every batch at max_batch_size, filling it up, and refuses one that is not full without
# this setting. There a smaller max_batch_size, here and in the ensemble, makes a lone request quicker; the embedded
# server computes what is there.""",
    "NUM_STREAMS": """\
# A stream for each instance: batches side by side, each on its share of the cores, which makes the most of them. 1: all
# cores for one batch, so that a lone request is quicker.""",
    "HINT_BF16": "# Products in bfloat16, sums in float32; needs a CPU that multiplies bfloat16 itself to be worth it.",
    "INFERENCE_MODE": "# Without autograd's bookkeeping.",
}


def _settings(serving: Serving) -> list[str]:
    lines = []
    for key, value in serving.parameters.items():
        lines += [_REMARKS[key]] if key in _REMARKS else []
        lines.append(f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}')
    if serving.cpu_accelerator:
        lines.append(_accelerator("cpu", serving.cpu_accelerator, {}))
    if serving.gpu_accelerator:
        lines.append(_accelerator("gpu", *serving.gpu_accelerator))
    return lines


def _accelerator(device: str, name: str, parameters: Mapping[str, str]) -> str:
    rows = [f'\n      parameters {{ key: "{key}", value: "{value}" }}' for key, value in parameters.items()]
    inner = f'name: "{name}"' + "".join(rows)
    return f"""\
optimization {{
  execution_accelerators {{
    {device}_execution_accelerator [ {{
      {inner}
    }} ]
  }}
}}"""


def _parameters(model: PythonModel) -> list[str]:
    rows = [
        f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}'
        for key, value in model.parameters.items()
    ]
    return ["# What the step reads; the head of the version's model.py says what each of them does.", *rows]


def _steps(model: Ensemble) -> str:
    steps = []
    for step in model.steps:
        lines = [f'    model_name: "{step.model}"', "    model_version: -1 # the newest that is loaded"]
        lines += [f'    input_map {{ key: "{key}", value: "{value}" }}' for key, value in step.input_map.items()]
        lines += [f'    output_map {{ key: "{key}", value: "{value}" }}' for key, value in step.output_map.items()]
        steps.append("  step {\n" + "\n".join(lines) + "\n  }")
    return "ensemble_scheduling {\n" + "\n".join(steps) + "\n}"


def _warmup(inputs: Sequence[Tensor]) -> str:
    rows = [
        f'  inputs {{ key: "{tensor.name}", value: {{ data_type: {data_type(tensor)}, '
        f'dims: [ {", ".join(map(str, tensor.config_dims))} ], input_data_file: "{tensor.name}" }} }}'
        for tensor in inputs
    ]
    return "\n".join(
        [
            "# A real sample out of warmup/ runs before the model is called ready: the first caller pays no start-up.",
            'model_warmup { name: "real sample", batch_size: 1',
            *rows,
            "}",
        ]
    )


_VERSION_POLICY = """\
# The newest version serves; it is loaded before the one before it is let go.
version_policy: { latest { num_versions: 1 } }"""


def paths(folder: Path) -> list[Path]:
    """config.pbtxt and every configs/*.pbtxt of a model's folder, those that stand."""
    found = [folder / FILENAME] if (folder / FILENAME).exists() else []
    return [*found, *sorted((folder / CONFIGS).glob("*.pbtxt"))]


def text_of(path: Path) -> str:
    """A config's text, every byte of it: line ends as they are, and what is not UTF-8 as lone surrogates.

    Raises:
        ConfigContradiction: the file cannot be read, or is larger than any config.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigContradiction(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigContradiction(f"{path} has more than {MAX_CONFIG_BYTES >> 20} MiB; no config has.")
    return decoded(content)


def decoded(content: bytes) -> str:
    """A config's bytes as text; what is not UTF-8 is lone surrogates."""
    return content.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """A text that was decoded, as it was."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Stated:
    """A config that was read.

    Attributes:
        path: the file.
        document: its text with places.
        bound: the message that it states.
    """

    path: Path
    document: Document
    bound: Bound

    def at(self, *path: str | int) -> str:
        """`file:line` of a field, or of what stands nearest around it; of the file's start where nothing of it does."""
        while path:
            if place := self.bound.places.get(path):
                start = place.value.start if isinstance(path[-1], int) else place.field.name_start
                return f"{self.path}:{self.document.position(start)[0]}"
            path = path[:-1]
        return f"{self.path}:1"


def stated_in(path: Path, text: str) -> Stated:
    """What a text states that stands, or will stand, in a file.

    Raises:
        ConfigContradiction: it is not a config; each reason with file, line and column.
    """
    document = parse(text)
    bound = bind(document, model_config_pb2.ModelConfig())
    if problems := [*bound.problems, *bound.lost]:
        shown = [
            f"{path}:{line}:{column}: {problem.message}{'' if problem.message.endswith('?') else '.'}"
            for problem in problems[:_MOST_SHOWN]
            for line, column in [document.position(problem.start)]
        ]
        more = [f"{len(problems) - _MOST_SHOWN} more."] if len(problems) > _MOST_SHOWN else []
        outcome = "Triton would refuse the model" if bound.problems else "Triton would lose what stands there"
        raise ConfigContradiction("\n".join([*shown, *more, f"{outcome}; mend it."]))
    return Stated(path, document, bound)


def read(path: Path) -> model_config_pb2.ModelConfig:
    """Parses a config.pbtxt.

    Raises:
        ConfigContradiction: it is not a valid ModelConfig; the message has file, line and column.
    """
    return stated_in(path, text_of(path)).bound.message


def says(path: Path, text: str) -> bool:
    """Whether a config has the settings of a text, whatever the comments of both.

    Raises:
        ConfigContradiction: the config cannot be read.
    """
    return bool(read(path) == stated_in(path, text).bound.message)


def filename(config: model_config_pb2.ModelConfig, compute_capability: str = "") -> str:
    """The artefact's file that a config serves, on a GPU of a compute capability where it names several."""
    backend = backend_of(config)
    default = "model.pt2" if config.platform == "torch_aoti" else DEFAULT_FILENAMES.get(backend, "")
    found: str = config.cc_model_filenames.get(compute_capability) or config.default_model_filename or default
    return found


def backend_of(config: model_config_pb2.ModelConfig) -> str:
    """The backend that serves a config, also where only a platform is stated."""
    found: str = config.backend or BACKEND_OF_PLATFORM.get(config.platform, config.platform)
    return found


def check(path: Path, model: AnyModel, text: str | None = None) -> None:
    """Holds a config against what the artefact dictates.

    Args:
        path: the file.
        model: the declaration.
        text: what will stand in the file; what stands in it where it is left out.

    Raises:
        ConfigContradiction: with file:line, what stands there, what Triton will demand, and the mend.
    """
    stated = stated_in(path, text_of(path) if text is None else text)
    config = stated.bound.message
    contradictions = [*_check_kind(config, model), *_check_batch(config, model)]
    contradictions += _check_tensors("input", config.input, model.inputs)
    contradictions += _check_tensors("output", config.output, model.outputs)
    if isinstance(model, Ensemble):
        contradictions += _check_steps(config, model)
    if isinstance(model, PythonModel):
        contradictions += [
            (("parameters",), f"parameter {key!r} is missing; the step needs it, such as string_value: {value!r}")
            for key, value in model.parameters.items()
            if key not in config.parameters
        ]
    if contradictions:
        raise ConfigContradiction("\n".join(f"{stated.at(*at)}: {what}." for at, what in contradictions))


# Where it stands, and the sentence.
_Finding = tuple[FieldPath, str]


def _check_kind(config: model_config_pb2.ModelConfig, model: AnyModel) -> list[_Finding]:
    found = config.backend or config.platform
    accepted: set[str]
    if isinstance(model, Ensemble):
        accepted = {"ensemble"}
    elif isinstance(model, PythonModel):
        accepted = {"python"}
    else:
        accepted = {*DEFAULT_FILENAMES, *BACKEND_OF_PLATFORM} - {"python"}
    if found in accepted:
        return []
    at = "backend" if config.backend else "platform"
    return [((at,), f"backend or platform is {found!r}, the artefact needs {' or '.join(sorted(accepted))}")]


def _check_batch(config: model_config_pb2.ModelConfig, model: AnyModel) -> list[_Finding]:
    findings: list[_Finding] = []
    if config.name and config.name != model.name:
        findings.append((("name",), f"name is {config.name!r}, the folder is {model.name!r}; leave name out"))
    if not 1 <= config.max_batch_size <= model.max_batch_size:
        findings.append(
            (
                ("max_batch_size",),
                f"max_batch_size is {config.max_batch_size}, the artefact was proven from 1 to {model.max_batch_size}; "
                "write a number in between, or declare a larger one in the model's source",
            )
        )
    for index, size in enumerate(config.dynamic_batching.preferred_batch_size):
        if size > config.max_batch_size:
            findings.append(
                (
                    ("dynamic_batching", "preferred_batch_size", index),
                    f"preferred_batch_size {size} is above max_batch_size {config.max_batch_size}, and Triton refuses "
                    "that; take it away",
                )
            )
    return findings


def _check_tensors(
    role: str, found: Iterable[model_config_pb2.ModelInput | model_config_pb2.ModelOutput], declared: Iterable[Tensor]
) -> list[_Finding]:
    expected = {tensor.name: tensor for tensor in declared}
    stated = {tensor.name: (index, tensor) for index, tensor in enumerate(found)}
    findings: list[_Finding] = []
    for name, (index, tensor) in stated.items():
        if name in expected:
            findings += _check_tensor(role, index, tensor, expected[name])
        else:
            has = ", ".join(expected)
            findings.append(((role, index), f"{role} {name!r} is not the artefact's; it has {has}"))
    missing = [name for name in expected if name not in stated]
    return findings + [
        ((role,), f"{role} {name!r} is missing; the artefact has {', '.join(expected)}") for name in missing
    ]


def _check_tensor(
    role: str, index: int, config: model_config_pb2.ModelInput | model_config_pb2.ModelOutput, tensor: Tensor
) -> list[_Finding]:
    findings: list[_Finding] = []
    known = model_config_pb2.DataType.values()
    stated = model_config_pb2.DataType.Name(config.data_type) if config.data_type in known else str(config.data_type)
    said = f"{role} {tensor.name!r}"
    if stated != data_type(tensor):
        findings.append(((role, index, "data_type"), f"{said} is {stated}, the artefact's is {data_type(tensor)}"))
    if not _dims_fit(role, tuple(config.dims), tensor.config_dims):
        dims = f"{said} has dims {list(config.dims)}, the artefact's are {list(tensor.config_dims)}"
        findings.append(((role, index, "dims"), dims))
    return findings


def _dims_fit(role: str, stated: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    """Onnxruntime's rule: outputs exactly as in the graph, inputs may be narrower where the graph varies."""
    if role == "output" or len(stated) != len(actual):
        return stated == actual
    return all(config == size or size == -1 for config, size in zip(stated, actual, strict=True))


def _check_steps(config: model_config_pb2.ModelConfig, model: Ensemble) -> list[_Finding]:
    stated = [step.model_name for step in config.ensemble_scheduling.step]
    expected = [step.model for step in model.steps]
    if stated == expected:
        return []
    said = f"the steps are {', '.join(stated)}; declared are {', '.join(expected)}"
    return [(("ensemble_scheduling", "step"), said)]
