"""MY3xx: what waits for what: batches, queues, priorities, sequences, the response cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.instance_groups import count
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.server_arguments import option
from modelyard_build.repository.lint.subjects import Config, Repository
from modelyard_build.repository.text_format.binding import Path as FieldPath

# Backends that compute a whole graph at once, so that a batch costs less than its requests one by one.
GRAPH_BACKENDS = frozenset({"onnxruntime", "openvino", "pytorch", "tensorrt", "tensorrt_rtx"})
TENSORRT = frozenset({"tensorrt", "tensorrt_rtx"})
LONGEST_DELAY_US = 1_000_000


def _scheduler(config: Config) -> str:
    """`dynamic_batching`, `sequence_batching`, `ensemble_scheduling`, or nothing."""
    return config.message.WhichOneof("scheduling_choice") or ""


def _batches_dynamically(config: Config) -> bool:
    return _scheduler(config) == "dynamic_batching" and config.message.max_batch_size > 1


@rule(
    "MY301",
    Severity.WARNING,
    summary="dynamic_batching of a model that takes one request at a time",
    mend="Take the block away, or set max_batch_size to what the model can take (dims without the batch).",
    verdict=Verdict.LOADS,
)
def dynamic_batching_without_batches(config: Config) -> Findings:
    """Triton loads it silently, and the block does nothing: with `max_batch_size` 0 or 1 there is no batch to fill.

    Its queue and its priorities do work without batches, so a block that states one of those is left alone.
    """
    message = config.message
    block = message.dynamic_batching
    if _scheduler(config) != "dynamic_batching" or message.max_batch_size not in (0, 1) or _may_be_completed(config):
        return
    if not (block.priority_levels or block.priority_queue_policy or block.HasField("default_queue_policy")):
        said = f"is {message.max_batch_size}" if config.states("max_batch_size") else "is not stated, so it is 0"
        yield config.raised(
            f"dynamic_batching has nothing to batch: max_batch_size {said}; "
            "set it to the largest batch that the model takes, or take the block away",
            "dynamic_batching",
            fix=without(config, "dynamic_batching"),
        )


def _may_be_completed(config: Config) -> bool:
    """Whether the backend may set max_batch_size itself."""
    message = config.message
    if config.backend == "python":
        return not config.states("max_batch_size")
    return message.max_batch_size == 0 and not (message.input and message.output)


@rule(
    "MY302",
    Severity.WARNING,
    summary="a model that can batch, and never does",
    mend="Add `dynamic_batching { }`.",
    verdict=Verdict.LOADS,
)
def no_dynamic_batching(config: Config) -> Findings:
    """Without the block Triton runs every request on its own, whatever `max_batch_size` says.

    `max_batch_size` only allows batches that a client makes. Joining the requests that wait is what makes a graph fast
    under load. With inputs and outputs listed nothing adds the block: only where Triton completes a config does it.
    """
    message = config.message
    if message.max_batch_size <= 1 or _scheduler(config) or config.backend not in GRAPH_BACKENDS:
        return
    if message.model_transaction_policy.decoupled or not (message.input and message.output):
        return
    yield config.raised(
        f"max_batch_size is {message.max_batch_size}, and without dynamic_batching every request runs on its own; "
        "add `dynamic_batching { }`, or ignore this where the clients make the batches",
        "max_batch_size",
    )


def _preferred_sizes(config: Config) -> tuple[FieldPath, list[int]]:
    """The field and its values, of the scheduler that the config has."""
    if _scheduler(config) == "dynamic_batching":
        path: FieldPath = ("dynamic_batching", "preferred_batch_size")
        return path, list(config.message.dynamic_batching.preferred_batch_size)
    if _scheduler(config) == "sequence_batching":
        path = ("sequence_batching", "oldest", "preferred_batch_size")
        return path, list(config.message.sequence_batching.oldest.preferred_batch_size)
    return (), []


@rule(
    "MY303",
    Severity.ERROR,
    summary="preferred_batch_size is outside of 1 to max_batch_size",
    mend="Leave `preferred_batch_size` out: Triton then fills batches up to max_batch_size.",
    verdict=Verdict.REFUSES,
)
def preferred_batch_size_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says `dynamic batching preferred size must be <= max batch size for …` or `… must be positive for …`; for
    sequences `sequence batching preferred batch size must be …`.
    """
    largest = config.message.max_batch_size
    open_end = largest == 0 and (config.backend == "python" or _may_be_completed(config))
    path, sizes = _preferred_sizes(config)
    for index, size in enumerate(sizes):
        if size <= 0 or (size > largest and not open_end):
            yield config.raised(
                f"preferred_batch_size has {size}, and max_batch_size is {largest}: 1 to {max(largest, 1)} is "
                "expected; leave preferred_batch_size out",
                *path,
                index,
                fix=without(config, *path),
            )


@rule(
    "MY304",
    Severity.WARNING,
    summary="preferred_batch_size caps the batches below max_batch_size",
    mend="Leave `preferred_batch_size` out; only a TensorRT engine with several profiles gains from it.",
    verdict=Verdict.LOADS,
)
def preferred_batch_size_caps(config: Config) -> Findings:
    """Triton sends a batch off as soon as it has the largest preferred size, and never makes a larger one.

    Measured: with `preferred_batch_size: [ 2 ]` and `max_batch_size: 8`, nine requests that waited together ran as one
    batch of 1 and four of 2.
    """
    path, sizes = _preferred_sizes(config)
    largest = config.message.max_batch_size
    several_profiles = any(len(group.profile) > 1 for group in config.message.instance_group)
    if _scheduler(config) != "dynamic_batching" or not sizes or (config.backend in TENSORRT and several_profiles):
        return
    if 0 < max(sizes) < largest:
        yield config.raised(
            f"no batch becomes larger than {max(sizes)}, the largest preferred_batch_size, though max_batch_size is "
            f"{largest}; leave preferred_batch_size out",
            *path,
            fix=without(config, *path),
        )


def _delays(config: Config) -> Iterator[tuple[FieldPath, int]]:
    """Each stated queue delay that has an effect, in microseconds."""
    message = config.message
    if _batches_dynamically(config):
        yield ("dynamic_batching",), message.dynamic_batching.max_queue_delay_microseconds
    choice = (
        message.sequence_batching.WhichOneof("strategy_choice") if _scheduler(config) == "sequence_batching" else ""
    )
    if choice:
        strategy = getattr(message.sequence_batching, choice)
        yield ("sequence_batching", choice), strategy.max_queue_delay_microseconds


@rule(
    "MY305",
    Severity.WARNING,
    summary="the queue delay is longer than a request may take",
    mend="Set max_queue_delay_microseconds to a small part of the latency that the callers can bear.",
    verdict=Verdict.LOADS,
)
def delay_over_budget(config: Config) -> Findings:
    """A lone request always waits the whole delay: it is the first of a batch that nobody joins.

    The unit is microseconds, and a thousand times too much is the usual slip. What the callers can bear is declared in
    pyproject.toml, `[tool.modelyard.lint.latency-budget-ms]`; without it more than a second is taken for a slip.
    """
    budgets = config.settings.latency_budget_ms
    budget = budgets.get(config.model.name, budgets.get("*"))
    for path, delay in _delays(config):
        limit = LONGEST_DELAY_US if budget is None else budget * 1000
        if delay > LONGEST_DELAY_US or (budget is not None and delay >= limit):
            held = "" if budget is None else f"; the declared budget of a whole request is {budget:g} ms"
            yield config.raised(
                f"a lone request waits {delay / 1000:g} ms before it runs{held}; the unit is microseconds: set a few "
                "thousand, or leave the delay out",
                *path,
                "max_queue_delay_microseconds",
            )


@rule(
    "MY306",
    Severity.WARNING,
    summary="token sequences of any length from clients, which share no batch",
    mend="Pad to a few lengths, in a step of an ensemble or in the clients; then say so in an ignore comment.",
    verdict=Verdict.LOADS,
)
def shapes_never_share_a_batch(config: Config) -> Findings:
    """Triton joins only requests whose shapes are equal, so texts of 17 and 18 tokens run one after the other.

    This looks at models of integer sequences (`dims: [ -1 ]`) that clients call themselves, without
    `allow_ragged_batch`. Where an ensemble calls the model, the step before it can pad, and nothing is said.
    """
    if not _batches_dynamically(config):
        return
    for index, tensor in enumerate(config.message.input):
        if list(tensor.dims) == [-1] and not tensor.allow_ragged_batch and _data_type(tensor) in _INTEGERS:
            # Last: it reads the configs of the whole repository.
            if config.model.name in _steps_of(config.model.repository):
                return
            yield config.raised(
                f"requests whose {tensor.name!r} differs in length never share a batch; pad to a few lengths before "
                "the model, in a step of an ensemble or in the clients (then ignore this, with that reason)",
                "input",
                index,
                "dims",
            )
            return


_INTEGERS = ("TYPE_INT32", "TYPE_INT64")


def _data_type(message: Any) -> str:
    """The name of a message's data_type; empty for a number that names none."""
    value = message.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number.get(message.data_type)
    return value.name if value else ""


def _steps_of(repository: Repository) -> frozenset[str]:
    """The models that an ensemble of the repository calls; read once."""
    found = repository.__dict__.get("_scheduling_steps")
    if found is None:
        found = frozenset(
            step.model_name
            for model in repository.models.values()
            if model.config is not None and "ensemble" in model.config.text
            for step in model.config.message.ensemble_scheduling.step
        )
        repository.__dict__["_scheduling_steps"] = found
    return found


def _policies(config: Config) -> Iterator[tuple[FieldPath, Any]]:
    """Each stated queue policy."""
    if _scheduler(config) == "dynamic_batching":
        block = config.message.dynamic_batching
        if block.HasField("default_queue_policy"):
            yield ("dynamic_batching", "default_queue_policy"), block.default_queue_policy
        for level in sorted(block.priority_queue_policy):
            yield ("dynamic_batching", "priority_queue_policy", level), block.priority_queue_policy[level]


def _gives_up(policy: Any) -> bool:
    """Whether a request is ever refused: at once, where the queue is full, or after a while."""
    return bool(
        policy.max_queue_size or (policy.default_timeout_microseconds and policy.timeout_action == policy.REJECT)
    )


@rule(
    "MY307",
    Severity.WARNING,
    summary="a queue that refuses nobody, however late it is",
    mend="Set max_queue_size, and default_timeout_microseconds with timeout_action REJECT, in default_queue_policy.",
    verdict=Verdict.LOADS,
)
def queue_without_end(config: Config) -> Findings:
    """A queue without `max_queue_size` grows while requests come faster than they are answered.

    Every caller then waits behind requests whose callers have long gone, until memory ends.

    This is said where a queue policy is stated that never refuses, and where a latency budget is declared for the
    model. A full queue refuses at once (503, `Exceeds maximum queue size`), an expired request with
    `Request timeout expired`. Triton counts only the second, in `nv_inference_request_failure{reason="REJECTED"}`:
    count the first in the clients.
    """
    stated = False
    for path, policy in _policies(config):
        stated = True
        if not _gives_up(policy):
            yield config.raised(
                "this queue policy refuses nobody: set max_queue_size (requests that may wait), or "
                "default_timeout_microseconds with timeout_action: REJECT",
                *path,
            )
    budgets = config.settings.latency_budget_ms
    budget = budgets.get(config.model.name, budgets.get("*"))
    if budget is not None and not stated and _scheduler(config) == "dynamic_batching":
        yield config.raised(
            f"a latency budget of {budget:g} ms is declared, and the queue refuses nobody; add "
            "default_queue_policy { max_queue_size: … } with as many requests as can be answered in that time",
            "dynamic_batching",
        )


@rule(
    "MY308",
    Severity.WARNING,
    summary="a timeout setting without the timeout that it is about",
    mend="State default_timeout_microseconds, the longest wait; a request may then ask for less.",
    verdict=Verdict.LOADS,
)
def timeout_never_fires(config: Config) -> Findings:
    """`allow_timeout_override` lets a request ask for less than the default, and a default of 0 is none.

    `timeout_action` says what happens at the default's end.

    Measured: four requests with a timeout of 0.1 s at a model that takes 0.5 s were all answered, the last after 2 s;
    with a default of 10 s three were refused in time.
    """
    for path, policy in _policies(config):
        for field in ("allow_timeout_override", "timeout_action"):
            if getattr(policy, field) and not policy.default_timeout_microseconds:
                yield config.raised(
                    f"{field} does nothing without default_timeout_microseconds; state the longest wait there",
                    *path,
                    field,
                )


@rule(
    "MY309",
    Severity.WARNING,
    summary="a queue that holds less than a batch",
    mend="Set max_queue_size to several times max_batch_size.",
    verdict=Verdict.LOADS,
)
def queue_smaller_than_a_batch(config: Config) -> Findings:
    """A batch is taken out of the queue, so a shorter queue is all that a batch of single requests can have.

    Measured: with `max_queue_size: 2` and `max_batch_size: 8`, twelve requests at once became one batch of 2 and ten
    refusals.
    """
    if not _batches_dynamically(config):
        return
    largest = config.message.max_batch_size
    for path, policy in _policies(config):
        if 0 < policy.max_queue_size < largest:
            yield config.raised(
                f"only {policy.max_queue_size} requests may wait, and a batch takes {largest}: batches stay small and "
                f"the rest is refused; set max_queue_size to several times {largest}",
                *path,
                "max_queue_size",
            )


@rule(
    "MY310",
    Severity.ERROR,
    summary="a priority level that does not exist",
    mend="Number the levels from 1 to priority_levels, and state default_priority_level.",
    verdict=Verdict.REFUSES,
)
def priority_out_of_range(config: Config) -> Findings:
    """Triton refuses the model.

    It says `default priority level must be in range [1, 3] for …`, also where the level is left out, or
    `priority queue policy must have priority level in range [1, 3] for …`.
    """
    block = config.message.dynamic_batching
    levels = block.priority_levels
    if _scheduler(config) != "dynamic_batching" or not levels:
        return
    if not 1 <= block.default_priority_level <= levels:
        field = (
            "default_priority_level"
            if config.states("dynamic_batching", "default_priority_level")
            else "priority_levels"
        )
        got = block.default_priority_level if field == "default_priority_level" else "not stated"
        yield config.raised(
            f"default_priority_level is {got}, and with priority_levels {levels} it must be 1 to {levels}; 1 is the "
            "most urgent",
            "dynamic_batching",
            field,
        )
    for level in sorted(block.priority_queue_policy):
        if not 1 <= level <= levels:
            yield config.raised(
                f"priority_queue_policy is for level {level}, and priority_levels is {levels}: the levels are 1 to "
                f"{levels}",
                "dynamic_batching",
                "priority_queue_policy",
                level,
            )


@rule(
    "MY311",
    Severity.WARNING,
    summary="priorities of a model that has no priority_levels",
    mend="State priority_levels, or take the priority settings away.",
    verdict=Verdict.LOADS,
)
def priorities_without_levels(config: Config) -> Findings:
    """Triton loads it silently and keeps one queue: every request's priority is ignored."""
    block = config.message.dynamic_batching
    if _scheduler(config) != "dynamic_batching" or block.priority_levels:
        return
    for field in ("default_priority_level", "priority_queue_policy"):
        if getattr(block, field):
            yield config.raised(
                f"{field} does nothing: priority_levels is not stated, so there is one queue for all; state it, or "
                f"take {field} away",
                "dynamic_batching",
                field,
            )


@rule(
    "MY312",
    Severity.ERROR,
    summary="preserve_ordering of requests that may overtake one another",
    mend="Take preserve_ordering away, or priority_levels and timeout_action: DELAY.",
    verdict=Verdict.REFUSES,
)
def ordering_with_overtaking(config: Config) -> Findings:
    """Triton refuses the model.

    It says `Only one priority level is allowed when 'preserve_ordering' is true for …`, or `Queue policy can not have
    DELAY as timeout action when 'preserve_ordering' is true for …`, where the policy has a timeout.
    """
    block = config.message.dynamic_batching
    if _scheduler(config) != "dynamic_batching" or not block.preserve_ordering:
        return
    if block.priority_levels > 1:
        yield config.raised(
            f"preserve_ordering answers in the order of arrival, and {block.priority_levels} priority_levels let "
            "requests overtake: keep one of them",
            "dynamic_batching",
            "preserve_ordering",
        )
    for path, policy in _policies(config):
        if policy.default_timeout_microseconds and policy.timeout_action == policy.DELAY:
            yield config.raised(
                "preserve_ordering keeps the order of arrival, and a request that is delayed lets others overtake; "
                "state timeout_action: REJECT, or take preserve_ordering away",
                *path,
                "timeout_action",
            )


@rule(
    "MY313",
    Severity.WARNING,
    summary="preserve_ordering makes instances wait for one another",
    mend="Take preserve_ordering away where no client relies on the order of answers to different requests.",
    verdict=Verdict.LOADS,
)
def ordering_of_several_instances(config: Config) -> Findings:
    """Answers leave in the order of arrival, so what a fast instance has ready waits for the slowest batch before it.

    Only a gRPC stream can tell the order at all: each other call has its own answer.
    """
    message = config.message
    instances = sum(count(config, group) for group in message.instance_group)
    if _batches_dynamically(config) and message.dynamic_batching.preserve_ordering and instances > 1:
        yield config.raised(
            f"preserve_ordering makes the answers of {instances} instances wait for one another; take it away unless "
            "a client's stream relies on the order",
            "dynamic_batching",
            "preserve_ordering",
        )


_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


@rule(
    "MY314",
    Severity.ERROR,
    summary="a sequence control that Triton refuses",
    mend="Give each control a tensor of its own and one pair of values, CONTROL_SEQUENCE_CORRID a data_type.",
    verdict=Verdict.REFUSES,
)
def control_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says, for instance, `sequence batching control tensor must have a name for …`, `… specifies multiple
    CONTROL_SEQUENCE_START tensors for …`, `… must specify either 'int32_false_true', 'fp32_false_true' or
    'bool_false_true' for CONTROL_SEQUENCE_START for …`, `… must have exactly 2 entries …` or `unexpected data type for
    control CONTROL_SEQUENCE_CORRID for …`.
    """
    names: set[str] = set()
    kinds: set[int] = set()
    for index, tensor in enumerate(config.message.sequence_batching.control_input):
        place = ("sequence_batching", "control_input", index)
        if not tensor.name:
            yield config.raised("this control_input has no name; name the model's tensor that it fills", *place)
        elif tensor.name in names:
            yield config.raised(
                f"the tensor {tensor.name!r} has a control_input already; each control needs a tensor of its own",
                *place,
            )
        names.add(tensor.name)
        for number, control in enumerate(tensor.control):
            yield from _control(config, control, (*place, "control", number), kinds)


def _control(config: Config, control: Any, place: FieldPath, kinds: set[int]) -> Findings:
    """What is wrong with one control; its kind joins `kinds`."""
    if control.kind not in control.Kind.values():
        return
    kind = control.Kind.Name(control.kind)
    if control.kind in kinds:
        yield config.raised(f"{kind} has a tensor already; take one of the two away", *place)
    kinds.add(control.kind)
    stated = [field for field in _VALUES if len(getattr(control, field))]
    if kind == "CONTROL_SEQUENCE_CORRID":
        if stated:
            yield config.raised(f"{kind} carries a number, so {stated[0]} has no place here; take it away", *place)
        elif _data_type(control) not in _CORRELATION_TYPES:
            yield config.raised(f"{kind} needs a data_type: one of {', '.join(_CORRELATION_TYPES)}", *place)
    elif len(stated) != 1:
        got = " and ".join(stated) or "none"
        yield config.raised(f"{kind} needs one of {', '.join(_VALUES)}, and has {got}", *place)
    elif len(getattr(control, stated[0])) != 2:
        found = len(getattr(control, stated[0]))
        yield config.raised(f"{stated[0]} has {found} values; two are expected, for false and for true", *place)


@rule(
    "MY315",
    Severity.WARNING,
    summary="a sequence control that replaces an input",
    mend="Give the control a tensor of its own, which is not listed in input: Triton fills it, no client sends it.",
    verdict=Verdict.LOADS,
)
def control_replaces_an_input(config: Config) -> Findings:
    """Triton loads it, asks the clients for the input, and then lays the control's [0] or [1] over what they sent.

    Seen with a Python model: the client's four numbers came back as one. Backends that check a graph refuse the model,
    because the tensor then counts twice.
    """
    inputs = {tensor.name for tensor in config.message.input}
    for index, tensor in enumerate(config.message.sequence_batching.control_input):
        if tensor.name and tensor.name in inputs:
            yield config.raised(
                f"Triton fills {tensor.name!r} with the control, over what clients send: it is listed in input too; "
                "take it out of input",
                "sequence_batching",
                "control_input",
                index,
            )


@rule(
    "MY316",
    Severity.WARNING,
    summary="sequences that the graph cannot tell apart",
    mend="Add control_input for CONTROL_SEQUENCE_START and READY, or use dynamic_batching.",
    verdict=Verdict.LOADS,
)
def sequences_without_controls(config: Config) -> Findings:
    """A graph sees nothing of a sequence but what `control_input` or `state` gives it.

    Without them the sequence batcher only binds each client to one slot of one instance, and batches less.

    With the direct strategy a batch has a row for each slot, and only CONTROL_SEQUENCE_READY tells a graph which rows
    are somebody's.
    """
    message = config.message
    sequences = message.sequence_batching
    if _scheduler(config) != "sequence_batching" or config.backend not in GRAPH_BACKENDS - {"openvino"}:
        return
    kinds = {control.kind for tensor in sequences.control_input for control in tensor.control}
    if not kinds and not sequences.state:
        yield config.raised(
            "the graph is told nothing of its sequences: neither control_input nor state is stated; add them, or use "
            "dynamic_batching",
            "sequence_batching",
        )
    elif kinds and not sequences.HasField("oldest") and message.max_batch_size > 1 and _READY not in kinds:
        yield config.raised(
            "a batch has rows without a request, and the graph cannot tell which: add a control_input of "
            "CONTROL_SEQUENCE_READY",
            "sequence_batching",
        )


_READY = 1


@rule(
    "MY317",
    Severity.ERROR,
    summary="minimum_slot_utilization is outside of 0 to 1",
    mend="Set the part of the slots that must be taken, such as 0.5; or leave it out.",
    verdict=Verdict.REFUSES,
)
def slot_utilization_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `sequence batching minimum slot utilization must be in range (0.0, 1.0] for …`."""
    found = config.message.sequence_batching.direct.minimum_slot_utilization
    if found < 0 or found > 1:
        yield config.raised(
            f"minimum_slot_utilization is {found:g}; a part of the slots is expected, above 0 and up to 1",
            "sequence_batching",
            "direct",
            "minimum_slot_utilization",
        )


@rule(
    "MY318",
    Severity.WARNING,
    summary="max_sequence_idle_microseconds 0 is one second, not for ever",
    mend="State how long a client may pause within a sequence, in microseconds.",
    verdict=Verdict.LOADS,
)
def idle_zero_is_a_second(config: Config) -> Findings:
    """0 is "not set", and Triton takes 1000000.

    A client that pauses longer within its sequence loses its slot, and its next request is an error or the start of
    another sequence.
    """
    path = ("sequence_batching", "max_sequence_idle_microseconds")
    if config.states(*path) and not config.message.sequence_batching.max_sequence_idle_microseconds:
        yield config.raised(
            "0 means one second, the default; state the longest pause within a sequence, in microseconds",
            *path,
            fix=without(config, *path),
        )


@rule(
    "MY319",
    Severity.WARNING,
    summary="implicit state of a Python model, which Triton does not keep",
    mend="Keep the state in model.py by correlation ID, or in an input and an output that the client carries.",
    verdict=Verdict.LOADS,
)
def implicit_state_of_a_python_model(config: Config) -> Findings:
    """Triton loads it silently, and the answers are wrong: the Python backend has no way to write the state.

    Each step gets the initial one, or what happens to lie in memory. A model that should count 1, 2, 3 answers 1, 1, 1.

    The embedded server serves onnxruntime, pytorch and tensorrt by Python-based backends, too, which refuse such a
    config instead of serving wrong answers; NVIDIA's container keeps their state.
    """
    if config.backend == "python" and config.message.sequence_batching.state:
        yield config.raised(
            "the Python backend does not keep implicit state, and the answers are silently wrong: keep it in model.py "
            "by correlation ID",
            "sequence_batching",
            "state",
        )


@rule(
    "MY320",
    Severity.ERROR,
    summary="an initial_state that does not fit its state",
    mend="Give it a name, the state's data_type and dims (without -1), and zero_data or data_file.",
    verdict=Verdict.REFUSES,
)
def initial_state_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says, for instance, `Number of dimensions in 'initial_state' doesn't match the size of
    'state' dimensions for state input …`, `initial_state setting expects state … to have state_data set`,
    `Field 'name' must be set when using initial_state for state input …`. A negative size other than -1 ends the
    whole server while it loads: `failed to allocate non-pinned system memory`.
    """
    seen: set[str] = set()
    for index, state in enumerate(config.message.sequence_batching.state):
        place = ("sequence_batching", "state", index, "initial_state")
        if len(state.initial_state) > 1:
            yield config.raised(f"one initial_state is expected, not {len(state.initial_state)}", *place)
        elif state.initial_state and (wrong := _misfit(state.initial_state[0], state)):
            yield config.raised(f"the initial_state of {state.input_name!r} {wrong}", *place, 0)
        elif state.initial_state and state.input_name in seen:
            yield config.raised(f"{state.input_name!r} has an initial_state already; take one state away", *place, 0)
        if state.initial_state:
            seen.add(state.input_name)


def _misfit(initial: Any, state: Any) -> str:
    """What is wrong with an initial state, in Triton's order; empty: nothing."""
    if initial.data_type != state.data_type:
        return "has another data_type than the state; they must be one"
    if not initial.name:
        return "has no name; give it one"
    if len(initial.dims) != len(state.dims):
        return f"has dims {list(initial.dims)} and the state {list(state.dims)}; as many are expected"
    for own, wanted in zip(initial.dims, state.dims, strict=True):
        if own < 0 or wanted not in (-1, own):
            return f"has dims {list(initial.dims)} and the state {list(state.dims)}; they must fit, each 0 or more"
    if not initial.WhichOneof("state_data"):
        return "has no data; state zero_data: true or data_file"
    return ""


@rule(
    "MY321",
    Severity.ERROR,
    summary="a response cache for a model that cannot have one",
    mend="Take response_cache away.",
    verdict=Verdict.REFUSES,
)
def response_cache_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says `Response Cache does not currently support model … with 'decoupled' transaction policy. Please disable the
    response cache.`, or `… with sequence batching scheduler. …`.
    """
    message = config.message
    if not message.response_cache.enable:
        return
    against = "decoupled answers" if message.model_transaction_policy.decoupled else ""
    if _scheduler(config) == "sequence_batching":
        against = "sequence_batching"
    if against:
        yield config.raised(
            f"response_cache and {against} exclude one another: an answer that is stored would be one of several; take "
            "response_cache away",
            "response_cache",
            fix=without(config, "response_cache"),
        )


@rule(
    "MY322",
    Severity.WARNING,
    summary="a response cache that the server does not have",
    mend="Start the server with --cache-config=local,size=BYTES, or take response_cache away.",
    verdict=Verdict.UNSEEN,
)
def response_cache_without_a_cache(config: Config) -> Findings:
    """Without `--cache-config` among the server's arguments Triton loads the model silently and caches nothing.

    This is said only where the server's arguments are known. The embedded server has a cache.
    """
    arguments = config.settings.server_arguments
    if arguments is None or not config.message.response_cache.enable:
        return
    if option(arguments, "cache-config") is None and option(arguments, "response-cache-byte-size") is None:
        yield config.raised(
            "response_cache does nothing: the server is started without --cache-config; add "
            "--cache-config=local,size=67108864 to its arguments",
            "response_cache",
        )


@rule(
    "MY323",
    Severity.ERROR,
    summary="a graph that is declared decoupled",
    mend="Take model_transaction_policy away: a graph answers each request once.",
    verdict=Verdict.REFUSES,
)
def graph_is_decoupled(config: Config) -> Findings:
    """Decoupled models answer any number of times, over a gRPC stream alone; a graph answers once.

    Every other request fails with `HTTP end point doesn't support models with decoupled transaction policy`. The
    embedded server's backends refuse the model: `… a graph answers once: remove it`.
    """
    if config.backend in GRAPH_BACKENDS and config.message.model_transaction_policy.decoupled:
        yield config.raised(
            f"the {config.backend} backend answers each request once, and decoupled shuts out HTTP and plain gRPC; "
            "take model_transaction_policy away",
            "model_transaction_policy",
            fix=without(config, "model_transaction_policy"),
        )
