"""MY401 to MY403, MY413, MY414, MY417 and MY422: how many instances run, and on which kind of device."""

from __future__ import annotations

import re

from modelyard_build.repository.lint.instance_groups import (
    CPU,
    GPU,
    GROUPS,
    MODEL,
    UNKNOWN,
    cpu_instances,
    devices,
    stated_groups,
)
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.values import parameter, quoted, whole_number
from modelyard_build.repository.lint.server_arguments import options
from modelyard_build.repository.lint.subjects import Config

# The parameter with the threads of one instance, by backend.
_THREADS = {"onnxruntime": "intra_op_thread_count", "pytorch": "INTRA_OP_THREAD_COUNT"}


@rule(
    "MY401",
    Severity.WARNING,
    summary="two instances by default, of an ONNX model on a CPU",
    mend="State instance_group with a count: 1, or 2 with intra_op_thread_count at half the cores.",
    verdict=Verdict.LOADS,
)
def two_instances_by_default(config: Config) -> Findings:
    """Without a count Triton starts two instances of an onnxruntime model on a CPU, and each takes every core.

    They take the cores from one another: one small network gave 1,439 answers a second so, 3,694 at count 1, and 3,492
    at count 2 with one thread each. Every other backend, and onnxruntime on a GPU, gets one.
    """
    if config.backend != "onnxruntime":
        return
    if not config.message.instance_group and devices(config) <= {CPU, UNKNOWN}:
        yield config.raised(
            "instance_group is not stated: on a CPU Triton starts two instances, which take the cores from each other; "
            "state instance_group [ { count: 1 } ]"
        )
    for path, _, where in stated_groups(config):
        if not config.states(*path, "count") and where in (CPU, UNKNOWN):
            yield config.raised(
                "count is not stated: on a CPU Triton starts two instances, which take the cores from each other; "
                "state count: 1",
                *path,
            )


@rule(
    "MY402",
    Severity.WARNING,
    summary="a count of instances that is not positive",
    mend="State a count of 1 or more, or leave it out.",
    verdict=Verdict.LOADS,
)
def count_is_not_positive(config: Config) -> Findings:
    """Triton loads it silently and takes the default: one instance, or two for onnxruntime on a CPU.

    A count of 0 does not switch a model off: move its folder out of the repository, or load only the others.
    """
    for path, group, _ in stated_groups(config):
        if config.states(*path, "count") and group.count <= 0:
            yield config.raised(
                f"count is {group.count}, which Triton takes for the default (1, or 2 for onnxruntime on a CPU); state "
                "how many instances there are to be",
                *path,
                "count",
            )


@rule(
    "MY403",
    Severity.WARNING,
    summary="more threads than cores",
    mend="Lower the count or the threads, so that both multiplied are at most the cores.",
    verdict=Verdict.LOADS,
)
def more_threads_than_cores(config: Config) -> Findings:
    """Threads beyond the cores take turns: batches become slower, and the tail of the latency most of all.

    This is said only where the cores are known: `--hardware cpu:cores=16`.
    """
    machine = config.settings.machine
    key = _THREADS.get(config.backend, "")
    instances = cpu_instances(config)
    if machine is None or not machine.cores:
        return
    threads = whole_number(parameter(config, key))
    if instances * threads > machine.cores:
        yield config.raised(
            f"{instances} instance(s) with {threads} threads each are {instances * threads} threads, and "
            f"{machine.name} has {machine.cores} cores; lower count or {key}",
            "parameters",
            key,
        )


_KINDS = {
    "openvino": ((GPU, MODEL), "KIND_CPU"),
    "tensorrt": ((CPU, MODEL), "KIND_GPU"),
    "tensorrt_rtx": ((CPU, MODEL), "KIND_GPU"),
}


@rule(
    "MY413",
    Severity.ERROR,
    summary="a kind of instance that the backend does not have",
    mend="State KIND_CPU for openvino, KIND_GPU for tensorrt, or leave the kind out.",
    verdict=Verdict.REFUSES,
)
def kind_is_refused(config: Config) -> Findings:
    """The backend refuses the model: `… the openvino backend supports KIND_CPU only …`.

    Or `the tensorrt backend serves KIND_GPU only, …`. A number that names no kind Triton refuses itself:
    `instance group … has unexpected kind …`.
    """
    kinds, only = _KINDS.get(config.backend, ((), ""))
    for path, group, where in stated_groups(config):
        if group.kind not in group.Kind.values():
            yield config.raised(
                f"kind {group.kind} is none; KIND_AUTO, KIND_CPU, KIND_GPU or KIND_MODEL is", *path, "kind"
            )
        elif where in kinds and not config.message.runtime:
            yield config.raised(
                f"the {config.backend} backend runs {only} alone, and this group is on KIND_{where}; state {only}",
                *path,
                "kind",
            )
    if not config.message.instance_group and devices(config) == {CPU} and CPU in kinds:
        name = config.settings.machine.name if config.settings.machine else "the machine"
        yield config.raised(
            f"the {config.backend} backend runs {only} alone, and {name} has no GPU; serve another artefact there"
        )


@rule(
    "MY414",
    Severity.ERROR,
    summary="instances that are all passive",
    mend="Take `passive: true` away from at least one group.",
    verdict=Verdict.LOADS,
)
def all_passive(config: Config) -> Findings:
    """A passive instance is loaded and never given a request. Triton loads the model and calls it ready.

    Seen: the first request ended the whole server, with every other model in it.
    """
    groups = config.message.instance_group
    if groups and all(group.passive for group in groups):
        yield config.raised(
            "no instance takes requests, and the first request ends the server: take passive away from a group",
            GROUPS,
            0,
            "passive",
        )


@rule(
    "MY417",
    Severity.WARNING,
    summary="a host_policy that the server does not have",
    mend="Start the server with --host-policy=NAME,SETTING=VALUE, or take host_policy away.",
    verdict=Verdict.UNSEEN,
)
def host_policy_is_unknown(config: Config) -> Findings:
    """Triton loads it silently and binds the instance to no NUMA node or cores.

    This is said only where the server's arguments are known.
    """
    arguments = config.settings.server_arguments
    if arguments is None:
        return
    known = {value.partition(",")[0] for value in options(arguments, "host-policy")}
    for path, group, _ in stated_groups(config):
        if group.host_policy and group.host_policy not in known:
            yield config.raised(
                f"the server has no --host-policy={group.host_policy},…, so this does nothing; add one to its "
                "arguments, or take host_policy away",
                *path,
                "host_policy",
            )


# What a shell does not take for a part of a word.
_OF_THE_SHELL = re.compile(r"""[\s;&|()<>"'`$\\*?\[\]#~!{}]""")


@rule(
    "MY422",
    Severity.WARNING,
    summary="an instance group's name that the shell reads",
    mend="Take letters, digits, and - _ . alone.",
    verdict=Verdict.REFUSES,
)
def name_is_for_the_shell(config: Config) -> Findings:
    """Triton starts the process of a Python model through a shell, and the instance's name is on the command line.

    With `two words` it says `No module named 'model'`, with `a;b` it waits for ever, with `a>b` it writes a file.
    """
    for index, group in enumerate(config.message.instance_group):
        if found := _OF_THE_SHELL.search(group.name):
            yield config.raised(
                f"the name has {quoted(found[0])}, which the shell that starts a Python model's process reads; take "
                "letters, digits, and - _ . alone",
                *("instance_group", index, "name"),
            )
