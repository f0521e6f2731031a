"""A first config.pbtxt out of a model's declaration, with a comment at each setting that an operator may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from modelyard_build.model import (
    AnyModel,
    DynamicBatching,
    Ensemble,
    Model,
    PythonModel,
    QueuePolicy,
    SequenceBatching,
    Tensor,
)
from modelyard_build.repository import cc_model_filenames
from modelyard_build.repository.layout import DEFAULT_FILENAMES

# config.pbtxt names strings differently from the protocol; every other datatype only gets a prefix.
_DATA_TYPES = {"BYTES": "TYPE_STRING"}


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
    parts += ["", *([] if model.max_batch_size else [_UNBATCHED]), f"max_batch_size: {model.max_batch_size}"]
    parts += [_tensors("input", model.inputs), _tensors("output", model.outputs)]
    if isinstance(model, PythonModel):
        parts += ["", _DECOUPLED] if model.decoupled else []
        parts += ["", _sequences(model.sequence_batching)] if model.sequence_batching else []
    if isinstance(model, Ensemble):
        parts += ["", _steps(model)]
    else:
        parts += ["", _batching(model.dynamic_batching)] if model.dynamic_batching and model.max_batch_size else []
        parts += ["", _instances(model, serving)]
        if isinstance(model, PythonModel):
            parts += ["", *_parameters(model)] if model.all_parameters else []
        elif settings := _settings(serving):
            parts += ["", *settings]
        if warmup:
            parts += ["", _warmup(warmup)]
    return "\n".join([*parts, "", _VERSION_POLICY, ""])


_DECOUPLED = """\
# Each request is answered by a stream: over gRPC by ModelStreamInfer, over HTTP by /generate_stream.
model_transaction_policy { decoupled: true }"""
_UNBATCHED = "# The model has no batch dimension: the dims are the whole shape, and each request runs on its own."


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
        # What stands between the steps of an ensemble is an output of one and an input of the next.
        labels = ', label_filename: "labels.txt"' if tensor.labels and role == "output" else ""
        dims = ", ".join(map(str, tensor.config_dims))
        optional = ", optional: true" if tensor.optional else ""
        rows.append(
            f'  {{ name: "{tensor.name}", data_type: {data_type(tensor)}, dims: [ {dims} ]{labels}{optional} }}'
        )
    return f"{role} [\n" + ",\n".join(rows) + "\n]"


def _batching(batching: DynamicBatching) -> str:
    return "\n".join(
        [
            "# Without this block Triton runs every request on its own.",
            "dynamic_batching {",
            _joined(batching.preferred_batch_size),
            f"""\
  # How long the first request of a batch may wait for company. A lone request always waits this long.
  max_queue_delay_microseconds: {batching.max_queue_delay_microseconds}""",
            *(_priorities(batching) if batching.priority_levels else []),
            f"""\
  default_queue_policy {{
    # Requests that may wait; the next one is refused at once instead of making all of them late.
    max_queue_size: {batching.max_queue_size}
    # A request that waited longer is refused: its caller has given up. 0 waits for ever.
    default_timeout_microseconds: {batching.default_timeout_microseconds}
    # A request may ask for less: a client's deadline counts here too. (Triton takes only a timeout below the default.)
    allow_timeout_override: true
    timeout_action: REJECT
  }}""",
            *(_level(level, policy) for level, policy in sorted(batching.priority_queue_policy.items())),
            "}",
        ]
    )


def _joined(preferred_batch_size: Sequence[int]) -> str:
    if not preferred_batch_size:
        return """\
  # Requests that wait are joined up to max_batch_size; preferred_batch_size is left out on purpose: it would cap the
  # batches."""
    return f"""\
  # Requests that wait are joined up to so many, though one may bring max_batch_size itself. On a GPU, where a batch
  # takes hardly longer than an item, take this out: batches then grow to max_batch_size.
  preferred_batch_size: [ {", ".join(map(str, preferred_batch_size))} ] # modelyard: ignore[MY304] declared so"""


def _priorities(batching: DynamicBatching) -> list[str]:
    return [
        f"""\
  # What is of level 1 is taken first, also into a batch that is filled up with others; a batch that runs is not broken
  # off. While more urgent requests keep coming, the others wait. Several levels rule preserve_ordering out.
  priority_levels: {batching.priority_levels}
  # Of a request that names none.
  default_priority_level: {batching.default_priority_level}"""
    ]


def _level(level: int, policy: QueuePolicy) -> str:
    return f"""\
  # Of level {level}, in place of the default.
  priority_queue_policy {{
    key: {level}
    value: {{
      max_queue_size: {policy.max_queue_size}
      default_timeout_microseconds: {policy.default_timeout_microseconds}
      allow_timeout_override: true
      timeout_action: REJECT
    }}
  }}"""


def _sequences(batching: SequenceBatching) -> str:
    return f"""\
# Requests with one correlation id go to the same instance, in order; the step keeps the state between them.
sequence_batching {{
  # A sequence without a request for so long is over: its next request has to start anew.
  max_sequence_idle_microseconds: {batching.max_sequence_idle_microseconds}
  # Requests of several sequences are joined into a batch.
  oldest {{
    # Sequences that may be live at a time; the next one waits until one of them ends.
    max_candidate_sequences: {batching.max_candidate_sequences}
    max_queue_delay_microseconds: {batching.max_queue_delay_microseconds}
  }}
  # What the step is told of each request.
  control_input [
    {{ name: "START", control [ {{ kind: CONTROL_SEQUENCE_START, int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "END", control [ {{ kind: CONTROL_SEQUENCE_END, int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "CORRID", control [ {{ kind: CONTROL_SEQUENCE_CORRID, data_type: TYPE_UINT64 }} ] }}
  ]
}}"""


def _instances(model: Model | PythonModel, serving: Serving) -> str:
    if isinstance(model, PythonModel):
        return f"""\
# Instances are processes that run batches side by side.
instance_group [ {{ count: {model.instance_count}, kind: {model.instance_kind} }} ]"""
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
        for key, value in model.all_parameters.items()
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
