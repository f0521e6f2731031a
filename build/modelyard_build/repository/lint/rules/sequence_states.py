"""MY319 and MY320: the state that Triton keeps for a sequence."""

from __future__ import annotations

from typing import Any

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.subjects import Config


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
