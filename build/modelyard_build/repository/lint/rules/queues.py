"""MY307 to MY313: who waits how long, who goes first, and in which order answers leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.instance_groups import count
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.schedulers import batches_dynamically, scheduler
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath


def _policies(config: Config) -> Iterator[tuple[FieldPath, Any]]:
    """Each stated queue policy."""
    if scheduler(config) == "dynamic_batching":
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
    if budget is not None and not stated and scheduler(config) == "dynamic_batching":
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
    if not batches_dynamically(config):
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
    if scheduler(config) != "dynamic_batching" or not levels:
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
    if scheduler(config) != "dynamic_batching" or block.priority_levels:
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
    if scheduler(config) != "dynamic_batching" or not block.preserve_ordering:
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
    if batches_dynamically(config) and message.dynamic_batching.preserve_ordering and instances > 1:
        yield config.raised(
            f"preserve_ordering makes the answers of {instances} instances wait for one another; take it away unless "
            "a client's stream relies on the order",
            "dynamic_batching",
            "preserve_ordering",
        )
