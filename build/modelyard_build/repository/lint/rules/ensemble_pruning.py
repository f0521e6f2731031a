"""MY522: outputs of an ensemble that a request cannot ask for alone."""

from __future__ import annotations

from collections import Counter, defaultdict

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.ensemble_graph import Graph, Step, graph_of
from modelyard_build.repository.lint.subjects import Config

# Outputs times steps: beyond it the rule says nothing, for each output is tried.
MOST = 250_000


@rule(
    "MY522",
    Severity.WARNING,
    summary="an output of an ensemble that no request can ask for alone",
    mend="Write what goes on to a step and what goes out as two tensors, or hand it through the step that reads it.",
    verdict=Verdict.LOADS,
)
def output_cannot_be_asked_for_alone(config: Config) -> Findings:
    """Triton skips the steps whose outputs a request does not need, and miscounts what is needed.

    An output of the ensemble that a request leaves out counts as not needed, also where a step reads it. So does, for
    the first step that is listed, an input of the ensemble that is read by skipped steps alone. A step with no more
    outputs than that is skipped, and what comes after it never runs: `in ensemble …, unexpected deadlock, at least one
    output is not set while no more ensemble steps can be made`. A request for all outputs is answered.

    So it is in 24.10, and in the source of later releases (`EnsembleContext`, "Backward traversal").
    """
    graph = graph_of(config)
    suspicious = len(graph.outputs) > 1 and _may_be_miscounted(graph)
    if not suspicious or len(graph.outputs) * len(graph.steps) > MOST:
        return
    failing: defaultdict[int, list[str]] = defaultdict(list)
    for name in graph.outputs:
        skipped = _wrongly_skipped(graph, name)
        if skipped is not None:
            failing[skipped.index].append(name)
    for index, names in sorted(failing.items()):
        step = graph.steps[index]
        alone = " alone, or ".join(map(repr, names))
        yield config.raised(
            f"a request for {alone} alone fails with 'unexpected deadlock': Triton skips {step}, which it needs. "
            f"{_advice(graph, step)}",
            *step.path,
        )


def _may_be_miscounted(graph: Graph) -> bool:
    """Whether there is what Triton miscounts; a graph that lacks a tensor is told of already."""
    if not graph.steps or not {*graph.outputs} <= graph.ready:
        return False
    first = set(graph.steps[0].message.input_map.values())
    return bool({*graph.outputs} & graph.read.keys() or {*graph.inputs} - first)


def _advice(graph: Graph, step: Step) -> str:
    both = [tensor for tensor in step.message.output_map.values() if tensor in graph.outputs and tensor in graph.read]
    if not both:
        return "Let its clients ask for all outputs, or make an ensemble of each part"
    return (
        f"{both[0]!r} is an output of the ensemble and read by {graph.read[both[0]][0]}: let {step} write it a second "
        "time under another name, or hand it through the step that reads it; else let clients ask for all outputs"
    )


def _wrongly_skipped(graph: Graph, asked: str) -> Step | None:
    """The first step that a request for one output needs and Triton does not run; None where it runs them all."""
    skipped = _skipped(graph, asked)
    waiting, seen = [asked], set[str]()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in graph.written:
            continue
        seen.add(tensor)
        step, _ = graph.written[tensor][0]
        if step.index in skipped:
            return step
        waiting += step.message.input_map.values()
    return None


def _skipped(graph: Graph, asked: str) -> set[int]:
    """The steps that Triton does not run for a request that asks for one output: as its own code finds them."""
    readers: defaultdict[str, set[int]] = defaultdict(set)
    for step in graph.steps:
        for tensor in step.message.input_map.values():
            readers[tensor].add(step.index)
    unneeded: Counter[int] = Counter()
    skipped: set[int] = set()
    ignored = set(graph.outputs) - {asked}
    while ignored:
        further: set[str] = set()
        for tensor in ignored:
            # Nothing writes an input of the ensemble; it is looked up as if the first step did.
            index = graph.written[tensor][0][0].index if tensor in graph.written else 0
            unneeded[index] += 1
            if unneeded[index] == len(graph.steps[index].message.output_map):
                skipped.add(index)
                further |= _unread(graph.steps[index], readers)
        ignored = further
    return skipped


def _unread(step: Step, readers: dict[str, set[int]]) -> set[str]:
    """The inputs of a skipped step that no other step reads."""
    tensors = set(step.message.input_map.values())
    for tensor in tensors:
        readers[tensor].discard(step.index)
    return {tensor for tensor in tensors if not readers[tensor]}
