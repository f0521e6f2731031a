"""Every rule, in the order in which they are said."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import ignores, layout, scheduling

RULES: tuple[Rule, ...] = (
    layout.unparsable,
    layout.name_is_not_the_folder,
    ignores.ignored_without_a_reason,
    ignores.ignores_nothing,
    scheduling.dynamic_batching_without_batches,
    scheduling.no_dynamic_batching,
    scheduling.preferred_batch_size_is_refused,
    scheduling.preferred_batch_size_caps,
    scheduling.delay_over_budget,
    scheduling.shapes_never_share_a_batch,
    scheduling.queue_without_end,
    scheduling.timeout_never_fires,
    scheduling.queue_smaller_than_a_batch,
    scheduling.priority_out_of_range,
    scheduling.priorities_without_levels,
    scheduling.ordering_with_priorities,
    scheduling.ordering_of_several_instances,
    scheduling.control_is_refused,
    scheduling.control_replaces_an_input,
    scheduling.sequences_without_controls,
    scheduling.slot_utilization_is_refused,
    scheduling.idle_zero_is_a_second,
    scheduling.implicit_state_of_a_python_model,
    scheduling.initial_state_is_refused,
    scheduling.response_cache_is_refused,
    scheduling.response_cache_without_a_cache,
    scheduling.graph_is_decoupled,
)
BY_CODE = {rule.code: rule for rule in RULES}
