"""What each setting does to batching and latency, in words, with measured figures where there are any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard_build.repository.text_format.binding import Path

MICROSECONDS = 1000.0


@dataclass(frozen=True)
class Measured:
    """What was last measured of the artefact that a config serves.

    Attributes:
        hardware: the kind of machine, with its cores.
        batch: items that ran together.
        latency_ms: of one item alone.
        throughput: items a second, in batches.
    """

    hardware: str
    batch: int
    latency_ms: float
    throughput: float


@dataclass(frozen=True)
class Context:
    """What an effect may depend on.

    Attributes:
        message: the completed ModelConfig.
        cores: of the machine; None: unknown.
        measured: of this artefact; None: nothing was.
    """

    message: Any
    cores: int | None
    measured: Measured | None


Effect = Callable[[Any, Context], str]


def effect(path: Path, value: Any, context: Context) -> str:
    """What a setting does; empty where its name says all."""
    pattern = ".".join(part for part in path if isinstance(part, str))
    if path[0] == "parameters" and len(path) > 1:
        return PARAMETERS.get(str(context.message.backend), {}).get(str(path[1]), "Read by the backend.")
    found = EFFECTS.get(pattern)
    return found(value, context) if found else ""


def _max_batch_size(value: int, context: Context) -> str:
    if value < 1:
        return "The model has no batch dimension for Triton: every request runs on its own."
    batches = context.message.WhichOneof("scheduling_choice") or context.message.platform == "ensemble"
    said = f"A request holds up to {value} items" + (", and waiting ones are joined up to it." if batches else ".")
    if (measured := context.measured) and batches:
        alone = 1000 / measured.latency_ms
        said += f" Batches of {measured.batch} make {measured.throughput:.0f} items/s here, one at a time {alone:.0f}."
    return said


def _delay(value: int, context: Context) -> str:
    if not value:
        return "A batch is what waits when an instance is free; nothing waits for company."
    said = f"The first request of a batch waits up to {value / MICROSECONDS:g} ms for others; a lone one always does"
    if measured := context.measured:
        share = value / MICROSECONDS / measured.latency_ms
        return f"{said}: {share:.0%} on top of the {measured.latency_ms:.1f} ms that one item takes here."
    return f"{said}."


def _preferred(value: list[int], context: Context) -> str:
    largest = max(value, default=0)
    if largest < context.message.max_batch_size:
        return f"No batch is larger than {largest}: a batch leaves as soon as it has a preferred size."
    return "A batch leaves at once when it is full." if len(value) == 1 else "A batch leaves at once at these sizes."


def _queue_size(value: int, _: Context) -> str:
    if not value:
        return "The queue has no limit: under overload every request becomes late, until memory ends."
    return f"The request after {value} waiting ones is refused at once; no metric of Triton counts it."


def _queue_timeout(value: int, _: Context) -> str:
    if not value:
        return "A request waits for ever, also when its caller has gone."
    return f"A request that waited {value / 1e6:g} s is not run."


def _timeout_override(value: bool, _: Context) -> str:
    return "A request may ask for less than the default." if value else "A request's own timeout is not looked at."


def _count(value: int, context: Context) -> str:
    kinds = {1: "One batch runs at a time", 2: "Two batches run side by side"}
    said = kinds.get(value, f"{value} batches run side by side")
    if context.message.backend == "python":
        said += ", each in a process of its own"
    if context.cores and value > context.cores:
        said += f"; the machine has {context.cores} cores"
    return f"{said}."


def _sequence_idle(value: int, _: Context) -> str:
    return f"A sequence without a request for {value / 1e6:g} s is ended; its next request is refused."


def _ensemble_steps(value: Any, context: Context) -> str:
    names = [step.model_name for step in context.message.ensemble_scheduling.step]
    return f"A request runs through {', '.join(names)}; each of them queues and batches by its own config."


def _level(value: int, _: Context) -> str:
    words = {-1: "ONNX Runtime's basic optimizations", 1: "ONNX Runtime's extended optimizations"}
    return f"{words.get(value, 'All optimizations of the graph' if not value else 'No optimization of the graph')}."


def _says(text: str) -> Effect:
    return lambda value, context: text


EFFECTS: Mapping[str, Effect] = {
    "platform": _says("The kind of file that the backend reads; an ensemble is run by Triton itself."),
    "input": _says("What a request gives; the batch stands before these dims where max_batch_size is above 0."),
    "output": _says("What a request gets."),
    "backend": _says("What runs the artefact."),
    "default_model_filename": _says("The file of the version's folder that is served."),
    "cc_model_filenames": _says("The file for a GPU's compute capability; without a match the default file, silently."),
    "version_policy": lambda value, context: _version_policy(context.message.version_policy),
    "max_batch_size": _max_batch_size,
    "dynamic_batching": _says("Requests that wait are joined into one batch."),
    "dynamic_batching.preferred_batch_size": _preferred,
    "dynamic_batching.max_queue_delay_microseconds": _delay,
    "dynamic_batching.preserve_ordering": lambda value, context: (
        "Answers leave in the order of the requests: a quick batch waits for a slow one." if value else ""
    ),
    "dynamic_batching.priority_levels": _says("Requests of a lower number are taken first."),
    "dynamic_batching.default_priority_level": _says("The level of a request that names none."),
    "dynamic_batching.default_queue_policy.max_queue_size": _queue_size,
    "dynamic_batching.default_queue_policy.default_timeout_microseconds": _queue_timeout,
    "dynamic_batching.default_queue_policy.allow_timeout_override": _timeout_override,
    "dynamic_batching.default_queue_policy.timeout_action": lambda value, context: (
        "What waited too long runs after everything else." if value else "What waited too long is refused."
    ),
    "sequence_batching": _says("Requests of one sequence go to the same instance, one after the other."),
    "sequence_batching.direct": _says("Each sequence holds a slot of a batch until it ends."),
    "sequence_batching.oldest": _says("Requests of several sequences are batched; the oldest sequence goes first."),
    "sequence_batching.oldest.max_queue_delay_microseconds": _delay,
    "sequence_batching.direct.max_queue_delay_microseconds": _delay,
    "sequence_batching.oldest.preferred_batch_size": _preferred,
    "sequence_batching.oldest.max_candidate_sequences": _says("Sequences that run at once; further ones wait."),
    "sequence_batching.max_sequence_idle_microseconds": _sequence_idle,
    "ensemble_scheduling": _ensemble_steps,
    "instance_group.count": _count,
    "instance_group.kind": _says(
        "Where the instances run; KIND_AUTO is a GPU where the server sees one, else the CPU."
    ),
    "instance_group.gpus": _says("The instances stand on each of these GPUs."),
    "instance_group.profile": _says("The engine's optimization profiles that are served."),
    "instance_group.rate_limiter": _says("Read only where the server runs with --rate-limit=execution_count."),
    "optimization.graph.level": _level,
    "optimization.execution_accelerators": _says("Parts of the graph run through another library."),
    "optimization.input_pinned_memory": _says("Inputs are gathered in memory that a GPU reads faster."),
    "optimization.output_pinned_memory": _says("Outputs are gathered in memory that a GPU writes faster."),
    "optimization.eager_batching": _says("The next batch is gathered before an instance is free."),
    "response_cache.enable": _says("Equal requests are answered from memory, if the server has --cache-config."),
    "model_transaction_policy.decoupled": _says("A request may have several answers, or none."),
    "model_warmup": _says("Runs before the model is ready, so that the first caller pays no start-up."),
}

# What the backends read out of `parameters`.
PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "onnxruntime": {
        "intra_op_thread_count": "Threads of each instance for one operator; 0: one for each core.",
        "inter_op_thread_count": "Threads for operators side by side; read with execution_mode 1.",
        "execution_mode": "0: operators one after the other; 1: side by side.",
        "enable_mem_arena": "Whether memory is kept between runs: quicker, and never given back.",
        "enable_mem_pattern": "Whether the memory of a run is laid out once; helps with fixed shapes.",
    },
    "openvino": {
        "NUM_STREAMS": "Batches that run side by side, each on its share of the cores.",
        "INFERENCE_NUM_THREADS": "Threads for all streams together.",
        "PERFORMANCE_HINT": "OpenVINO chooses streams and threads for this.",
        "HINT_BF16": "Products in bfloat16: quicker on CPUs that multiply it themselves.",
        "ENABLE_BATCH_PADDING": "A batch that is not full is filled up to max_batch_size; without it, it is refused.",
        "SKIP_OV_DYNAMIC_BATCHSIZE": "The batch of the artefact is left as it is.",
        "RESHAPE_IO_LAYERS": "The artefact is given the dims of this config.",
    },
    "pytorch": {
        "INFERENCE_MODE": "Without autograd's bookkeeping: quicker.",
        "INTRA_OP_THREAD_COUNT": "Threads for one operator.",
        "INTER_OP_THREAD_COUNT": "Threads for operators side by side.",
        "DISABLE_OPTIMIZED_EXECUTION": "TorchScript runs without its own optimizations.",
        "ENABLE_WEIGHT_SHARING": "Instances on one device share their weights.",
    },
    "python": {
        "EXECUTION_ENV_PATH": "The Python environment that model.py runs in.",
        "FORCE_CPU_ONLY_INPUT_TENSORS": "Inputs are handed over in the CPU's memory.",
    },
}


def _version_policy(policy: Any) -> str:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return "Every version is loaded; a request without one gets the newest."
    if kind == "specific":
        return "These versions alone are loaded; a new one serves only when it is listed."
    count = policy.latest.num_versions or 1
    return "The newest version serves." if count == 1 else f"The newest {count} versions serve."
