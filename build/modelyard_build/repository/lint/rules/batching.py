"""MY301 to MY306: what makes batches, and what keeps them small."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.schedulers import GRAPH_BACKENDS, batches_dynamically, scheduler
from modelyard_build.repository.lint.rules.tensor_texts import dtype_name
from modelyard_build.repository.lint.subjects import Config, Repository
from modelyard_build.repository.text_format.binding import Path as FieldPath

TENSORRT = frozenset({"tensorrt", "tensorrt_rtx"})
LONGEST_DELAY_US = 1_000_000


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
    if scheduler(config) != "dynamic_batching" or message.max_batch_size not in (0, 1) or _may_be_completed(config):
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
    if message.max_batch_size <= 1 or scheduler(config) or config.backend not in GRAPH_BACKENDS:
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
    if scheduler(config) == "dynamic_batching":
        path: FieldPath = ("dynamic_batching", "preferred_batch_size")
        return path, list(config.message.dynamic_batching.preferred_batch_size)
    if scheduler(config) == "sequence_batching":
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
    if scheduler(config) != "dynamic_batching" or not sizes or (config.backend in TENSORRT and several_profiles):
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
    if batches_dynamically(config):
        yield ("dynamic_batching",), message.dynamic_batching.max_queue_delay_microseconds
    choice = message.sequence_batching.WhichOneof("strategy_choice") if scheduler(config) == "sequence_batching" else ""
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
    if not batches_dynamically(config):
        return
    for index, tensor in enumerate(config.message.input):
        if list(tensor.dims) == [-1] and not tensor.allow_ragged_batch and dtype_name(tensor.data_type) in _INTEGERS:
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


@remembered
def _steps_of(repository: Repository) -> frozenset[str]:
    """The models that an ensemble of the repository calls."""
    return frozenset(
        step.model_name
        for model in repository.models.values()
        if model.config is not None and "ensemble" in model.config.text
        for step in model.config.message.ensemble_scheduling.step
    )
