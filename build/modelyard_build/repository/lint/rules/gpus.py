"""MY410 to MY412: the GPUs that an instance group names, and those that there are."""

from __future__ import annotations

from modelyard_build.repository.lint.instance_groups import CPU, GPU, MODEL, UNKNOWN, stated_groups
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY410",
    Severity.ERROR,
    summary="instances on a GPU of a machine that has none",
    mend="State KIND_AUTO, which runs anywhere, or a config of its own for the machine in configs/NAME.pbtxt.",
    verdict=Verdict.REFUSES,
)
def gpu_without_a_gpu(config: Config) -> Findings:
    """Triton refuses the model: `instance group … has kind KIND_GPU but no GPUs are available`.

    With KIND_AUTO it becomes KIND_CPU there, which must list no `gpus`. This is said only where the machine is known:
    `--hardware cpu`.
    """
    machine = config.settings.machine
    if machine is None or machine.gpus:
        return
    for path, group, where in stated_groups(config):
        if where == GPU:
            yield config.raised(
                f"kind is KIND_GPU, and {machine.name} has no GPU; state KIND_AUTO or KIND_CPU",
                *path,
                "kind",
            )
        elif group.gpus and group.kind == _AUTO:
            yield config.raised(
                f"gpus are listed, and {machine.name} has none: Triton takes the group for KIND_CPU and refuses it; "
                "take gpus away",
                *path,
                "gpus",
            )


_AUTO = 0


@rule(
    "MY411",
    Severity.ERROR,
    summary="gpus of a group that is not on a GPU",
    mend="Take gpus away, or state KIND_GPU.",
    verdict=Verdict.REFUSES,
)
def gpus_of_another_kind(config: Config) -> Findings:
    """Triton refuses the model: `instance group … has kind KIND_CPU but specifies one or more GPUs`.

    KIND_MODEL lists none either: its model chooses the devices itself.
    """
    for path, group, where in stated_groups(config):
        if group.gpus and group.kind != _AUTO and where in (CPU, MODEL):
            yield config.raised(
                f"kind is KIND_{where}, which has no gpus; take gpus away, or state kind: KIND_GPU",
                *path,
                "gpus",
                fix=without(config, *path, "gpus"),
            )


@rule(
    "MY412",
    Severity.ERROR,
    summary="a GPU that the machine does not have",
    mend="List the machine's GPUs by their numbers from 0, or leave gpus out for all of them.",
    verdict=Verdict.REFUSES,
)
def gpu_that_is_not_there(config: Config) -> Findings:
    """Triton refuses the model: `instance group … specifies invalid or unsupported gpu id …`.

    The numbers are those that the server sees: with CUDA_VISIBLE_DEVICES or a container's device list they start at 0
    again.
    """
    machine = config.settings.machine
    number = machine.gpus if machine and machine.gpus else None
    for path, group, where in stated_groups(config):
        for index, gpu in enumerate(group.gpus if where in (GPU, UNKNOWN) else ()):
            if gpu < 0 or (number is not None and gpu >= number):
                has = (
                    f"{machine.name} has {number}, numbered from 0"
                    if machine and number
                    else "they are numbered from 0"
                )
                yield config.raised(
                    f"there is no GPU {gpu}: {has}; list others, or leave gpus out", *path, "gpus", index
                )
