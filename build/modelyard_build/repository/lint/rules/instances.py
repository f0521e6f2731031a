"""MY4xx: how many instances run where, and what a backend reads of `parameters` and `optimization`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.backend_parameters import Described, close, described, expected
from modelyard_build.repository.lint.instance_groups import CPU, GPU, MODEL, UNKNOWN, cpu_instances, device, devices
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.server_arguments import option, options
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath
from modelyard_build.repository.text_format.syntax import Field, Listing, Message, Scalar

_GROUPS = "instance_group"
_ENVIRONMENT = "EXECUTION_ENV_PATH"
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY/"
# The parameter with the threads of one instance, by backend.
_THREADS = {"onnxruntime": "intra_op_thread_count", "pytorch": "INTRA_OP_THREAD_COUNT"}


def _groups(config: Config) -> Iterator[tuple[FieldPath, Any, str]]:
    """Each instance group with its place and what it runs on."""
    for index, group in enumerate(config.message.instance_group):
        yield (_GROUPS, index), group, device(group, config.settings.machine)


def _table(config: Config) -> Described | None:
    """What the table knows of the implementation that serves a model; None: nothing."""
    if config.message.runtime:
        return None
    return described("torch_aoti" if config.message.platform == "torch_aoti" else config.backend)


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
    for path, _, where in _groups(config):
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
    for path, group, _ in _groups(config):
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
    if machine is None or not machine.cores or not instances or key not in config.message.parameters:
        return
    threads = _whole_number(config.message.parameters[key].string_value)
    if instances * threads > machine.cores:
        yield config.raised(
            f"{instances} instance(s) with {threads} threads each are {instances * threads} threads, and "
            f"{machine.name} has {machine.cores} cores; lower count or {key}",
            "parameters",
            key,
        )


def _whole_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@rule(
    "MY404",
    Severity.ERROR,
    summary="a parameter's value that the backend refuses",
    mend="Give the parameter a value of the kind that is named.",
    verdict=Verdict.REFUSES,
)
def parameter_value_is_refused(config: Config) -> Findings:
    """The backend refuses the model, for instance `parameter 'execution_mode' is 2, expected 0 … or 1 …` here.

    NVIDIA's container says `Invalid configuration value provided. Expected values for execution_mode are 0 or 1 …`,
    and the Python backend `Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: …`. Every value is a string:
    `parameters { key: "…" value { string_value: "1" } }`.
    """
    table = _table(config)
    if table is None:
        return
    on_gpu = GPU in devices(config)
    for key, value in config.message.parameters.items():
        parameter = table["parameters"].get(key)
        if parameter is None or (parameter.get("device") == "GPU" and not on_gpu):
            continue
        if wanted := expected(parameter, value.string_value):
            yield config.raised(
                f"{key} is {_quoted(value.string_value)}, and the {config.backend} backend expects {wanted}",
                "parameters",
                key,
            )


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:40]}…")


@rule(
    "MY405",
    Severity.WARNING,
    summary="a parameter that the backend does not read",
    mend="Correct the name, or take the parameter away.",
    verdict=Verdict.LOADS,
)
def unknown_parameter(config: Config) -> Findings:
    """Triton loads it silently, and the setting has no effect: a backend looks its own keys up and sees no others.

    Names differ from backend to backend, in case too. Python models may read any key.
    """
    table = _table(config)
    if table is None or table.get("others"):
        return
    known = table["parameters"]
    for key in config.message.parameters:
        if key in known:
            continue
        renamed = table.get("renamed", {}).get(key)
        near = f" It is called {renamed} now." if renamed else close(key, known)
        yield config.raised(
            f"the {config.backend} backend reads no parameter {_quoted(key)}.{near or ' It reads ' + ', '.join(known)}",
            "parameters",
            key,
        )


@rule(
    "MY406",
    Severity.WARNING,
    summary="an optimization level that means nothing",
    mend="State -1 (basic), 1 (extended) or 2 (none) for onnxruntime, or leave it out for every optimization.",
    verdict=Verdict.LOADS,
)
def graph_level_means_nothing(config: Config) -> Findings:
    """The onnxruntime backend takes `optimization.graph.level` -1 for basic, 1 for extended and 2 for none.

    Every other number is silently taken for all of them, as 0 is: a 3 or a 99 is not more. The openvino, pytorch,
    python and tensorrt backends do not read it.
    """
    level = config.message.optimization.graph.level
    if not level:
        return
    if config.backend in ("openvino", "pytorch", "python", "tensorrt"):
        why = f"the {config.backend} backend does not read it; take it away"
    elif config.backend == "onnxruntime" and level not in (-1, 1, 2):
        why = "onnxruntime knows -1 (basic), 1 (extended) and 2 (none), and takes this for all; take it away"
    else:
        return
    yield config.raised(
        f"optimization.graph.level is {level}: {why}",
        "optimization",
        "graph",
        "level",
        fix=without(config, "optimization", "graph", "level"),
    )


_ACCELERATORS = ("optimization", "execution_accelerators")


def _accelerators(config: Config, field: str) -> Iterator[tuple[FieldPath, Any]]:
    """The accelerators for "cpu" or "gpu" with their places."""
    name = f"{field}_execution_accelerator"
    for index, accelerator in enumerate(getattr(config.message.optimization.execution_accelerators, name)):
        yield (*_ACCELERATORS, name, index), accelerator


def _refused(place: FieldPath, accelerator: Any, known: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """What onnxruntime refuses of an accelerator that it reads."""
    if accelerator.name not in known:
        near = close(accelerator.name, known) or f" It knows {', '.join(known)}"
        yield place, f"onnxruntime has no accelerator {_quoted(accelerator.name)} here.{near}"
        return
    keys = known[accelerator.name]
    for key, value in accelerator.parameters.items() if keys else ():
        where = (*place, "parameters", key)
        if key not in keys:
            yield where, f"the {accelerator.name} accelerator has no parameter {_quoted(key)}.{close(key, keys)}"
        elif wanted := expected(keys[key], value):
            yield where, f"{key} is {_quoted(value)}, and {wanted} is expected"


@rule(
    "MY407",
    Severity.ERROR,
    summary="an accelerator that onnxruntime refuses",
    mend="State `tensorrt` or `cuda` for a GPU, `openvino` for a CPU, with parameters of theirs.",
    verdict=Verdict.REFUSES,
)
def accelerator_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `unknown Execution Accelerator '…' is requested`.

    For a key it says `unknown parameter '…' is provided for TensorRT Execution Accelerator`. CPU accelerators are read
    wherever the model runs, those for a GPU only by instances on one: this tells of the latter where the instances are
    surely on a GPU.
    """
    if config.backend != "onnxruntime" or config.message.runtime:
        return
    table = described("onnxruntime") or {}
    for place, accelerator in _accelerators(config, "cpu"):
        # openvino takes whatever stands in its parameters, and reads none of it.
        for where, why in _refused(place, accelerator, table["cpu_accelerators"]):
            yield config.raised(why, *where)
    if GPU in devices(config):
        for place, accelerator in _accelerators(config, "gpu"):
            for where, why in _refused(place, accelerator, table["gpu_accelerators"]):
                yield config.raised(why, *where)


@rule(
    "MY408",
    Severity.WARNING,
    summary="an accelerator that nothing reads",
    mend="Take it away, or run the instances where it is read: onnxruntime, a GPU one on KIND_GPU.",
    verdict=Verdict.LOADS,
)
def accelerator_is_ignored(config: Config) -> Findings:
    """Triton loads it silently, and the model runs without it.

    Only onnxruntime has accelerators: `gpu_execution_accelerator` for instances on a GPU, and `openvino` for a CPU,
    whose parameters are not read. What onnxruntime would refuse on a GPU is told of here where it is not known where
    the instances will run.
    """
    reads_none = config.backend in ("openvino", "pytorch", "python", "tensorrt")
    for field in ("cpu", "gpu"):
        for place, accelerator in _accelerators(config, field):
            if reads_none:
                yield config.raised(f"the {config.backend} backend has no accelerators; take it away", *place)
            elif config.backend == "onnxruntime" and field == "gpu":
                yield from _ignored_on_a_cpu(config, place, accelerator)
            elif config.backend == "onnxruntime" and accelerator.parameters and accelerator.name == "openvino":
                yield config.raised(
                    "the openvino accelerator reads no parameters; take them away", *place, "parameters"
                )


def _ignored_on_a_cpu(config: Config, place: FieldPath, accelerator: Any) -> Iterator[Raised]:
    found = devices(config)
    if found <= {CPU, MODEL}:
        yield config.raised(
            f"gpu_execution_accelerator {_quoted(accelerator.name)} is ignored: the instances run on the CPU; take it "
            "away, or state kind: KIND_GPU",
            *place,
        )
    elif GPU not in found:
        table = described("onnxruntime") or {}
        for where, why in _refused(place, accelerator, table["gpu_accelerators"]):
            yield config.raised(f"on a GPU this is refused: {why}", *where)


@rule(
    "MY409",
    Severity.WARNING,
    summary="a field that only the TensorRT backend reads",
    mend="Take it away.",
    verdict=Verdict.LOADS,
)
def only_tensorrt_reads_it(config: Config) -> Findings:
    """CUDA graphs, eager batching, the gather kernel's threshold and DLA cores are settings of the TensorRT backend.

    Elsewhere Triton loads them silently, and nothing happens. CUDA graphs of an ONNX model are a parameter of its
    accelerator: `trt_cuda_graph_enable`, or `enable_cuda_graph` of `cuda`.
    """
    if config.backend not in ("onnxruntime", "openvino", "pytorch", "python"):
        return
    optimization = config.message.optimization
    for field in ("cuda", "eager_batching", "gather_kernel_buffer_threshold"):
        stated = optimization.HasField("cuda") if field == "cuda" else getattr(optimization, field)
        if stated:
            yield config.raised(
                f"optimization.{field} is read by the tensorrt backend alone, not by {config.backend}; take it away",
                "optimization",
                field,
                fix=without(config, "optimization", field),
            )
    for path, group, _ in _groups(config):
        if group.secondary_devices:
            yield config.raised(
                f"secondary_devices are DLA cores of the tensorrt backend; {config.backend} does not use them: take "
                "them away",
                *path,
                "secondary_devices",
            )


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
    for path, group, where in _groups(config):
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
    for path, group, where in _groups(config):
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
    for path, group, where in _groups(config):
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
    for path, group, where in _groups(config):
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
            _GROUPS,
            0,
            "passive",
        )


@rule(
    "MY415",
    Severity.ERROR,
    summary="optimization profiles that Triton refuses",
    mend="Number the engine's profiles from 0, as strings; for every other backend take profile away.",
    verdict=Verdict.REFUSES,
)
def profile_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `… specifies profile field which is only supported for TensorRT models`.

    For TensorRT it wants numbers: `unable to parse '…': stoi`, or `… specifies invalid profile … The field should
    contain the string representation of a non-negative integer.`
    """
    for path, group, _ in _groups(config):
        if group.profile and config.backend and config.backend != "tensorrt":
            yield config.raised(
                f"profiles belong to a TensorRT engine, and the backend is {config.backend}; take profile away",
                *path,
                "profile",
                fix=without(config, *path, "profile"),
            )
            continue
        for index, profile in enumerate(group.profile):
            if not _is_profile(profile):
                yield config.raised(
                    f'the profile {_quoted(profile)} is no number; the engine\'s profiles are "0", "1" and so on',
                    *path,
                    "profile",
                    index,
                )


def _is_profile(text: str) -> bool:
    """As C++'s stoi reads a number that is not negative; what follows the digits it leaves alone."""
    return re.match(r"\s*(\+?[0-9]{1,9}(?![0-9])|-0+(?![0-9]))", text) is not None


@rule(
    "MY416",
    Severity.WARNING,
    summary="an engine's optimization profiles and those that are served differ",
    mend='List every profile of the engine: profile: [ "0", "1" ].',
    verdict=Verdict.UNSEEN,
)
def profiles_differ(config: Config) -> Findings:
    """Without the list Triton serves profile 0 alone, and requests outside of its shapes fail.

    A profile that the engine does not have cannot be set. What the engine has stands in the manifest of its version.
    """
    if config.backend != "tensorrt":
        return
    listed = {_whole_number(profile) for group in config.message.instance_group for profile in group.profile}
    for version, artefact in config.artefacts:
        profiles = artefact.details.get("profiles", ())
        missing = sorted(set(range(len(profiles))) - (listed or {0}))
        beyond = sorted(number for number in listed if number >= len(profiles))
        place: FieldPath = (_GROUPS, 0, "profile") if config.message.instance_group else ()
        if profiles and missing:
            wanted = ", ".join(f'"{number}"' for number in range(len(profiles)))
            yield config.raised(
                f"version {version.number} has {len(profiles)} profiles, and {_listed(missing)} not served; state "
                f"profile: [ {wanted} ] in instance_group",
                *place,
            )
        elif profiles and beyond:
            yield config.raised(
                f"version {version.number} has {len(profiles)} profile(s), numbered from 0, and {_listed(beyond)} not "
                "among them; take it out of profile",
                *place,
            )


def _listed(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:6])) + (", …" if len(numbers) > 6 else "")
    return f"{named} is" if len(numbers) == 1 else f"{named} are"


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
    for path, group, _ in _groups(config):
        if group.host_policy and group.host_policy not in known:
            yield config.raised(
                f"the server has no --host-policy={group.host_policy},…, so this does nothing; add one to its "
                "arguments, or take host_policy away",
                *path,
                "host_policy",
            )


@rule(
    "MY418",
    Severity.WARNING,
    summary="a rate limiter that the server has switched off",
    mend="Start the server with --rate-limit=execution_count, or take rate_limiter away.",
    verdict=Verdict.UNSEEN,
)
def rate_limiter_is_off(config: Config) -> Findings:
    """Triton loads it silently: without `--rate-limit` resources and priorities of instances mean nothing.

    This is said only where the server's arguments are known. The embedded server has no rate limiter.
    """
    arguments = config.settings.server_arguments
    if arguments is None or _rate_limits(arguments):
        return
    for path, group, _ in _groups(config):
        if group.HasField("rate_limiter"):
            yield config.raised(
                "rate_limiter does nothing: the server is started without --rate-limit=execution_count; add it, or "
                "take rate_limiter away",
                *path,
                "rate_limiter",
            )


def _rate_limits(arguments: tuple[str, ...]) -> bool:
    return option(arguments, "rate-limit") not in (None, "off")


@rule(
    "MY419",
    Severity.ERROR,
    summary="an instance that needs more of a resource than the server has",
    mend="Raise the number in --rate-limit-resource, or lower the count in rate_limiter.",
    verdict=Verdict.UNSEEN,
)
def resource_is_too_small(config: Config) -> Findings:
    """Triton refuses the model, and names what it would need.

    It says `Resource count for "R" is limited to 8 which will prevent scheduling of one or more model instances, the
    minimum required count is 40`. As soon as the server states one `--rate-limit-resource`, a resource that it does
    not state is limited to 0.
    """
    arguments = config.settings.server_arguments
    if arguments is None or not _rate_limits(arguments):
        return
    limits = _resource_limits(arguments)
    for path, group, _ in _groups(config):
        for index, resource in enumerate(group.rate_limiter.resources if limits else ()):
            limit = limits.get(resource.name, 0)
            if resource.count > limit:
                yield config.raised(
                    f"the instance needs {resource.count} of {resource.name!r}, and the server has {limit}: Triton "
                    "refuses the model; raise --rate-limit-resource, or lower count",
                    *path,
                    "rate_limiter",
                    "resources",
                    index,
                )


def _resource_limits(arguments: tuple[str, ...]) -> dict[str, int]:
    """The largest number of each resource out of `--rate-limit-resource=NAME:COUNT[:DEVICE]`."""
    limits: dict[str, int] = {}
    for value in options(arguments, "rate-limit-resource"):
        name, _, rest = value.partition(":")
        limits[name] = max(limits.get(name, 0), _whole_number(rest.partition(":")[0]))
    return limits


@rule(
    "MY420",
    Severity.ERROR,
    summary="a Python environment that is not there",
    mend="Pack the environment into the model's folder, or correct EXECUTION_ENV_PATH.",
    verdict=Verdict.REFUSES,
)
def environment_is_missing(config: Config) -> Findings:
    """The Python backend refuses the model: `Failed to get the canonical path for …`.

    Only a path in the model's own folder is looked at, `$$TRITON_MODEL_DIRECTORY/…`: others are the server's.
    """
    path = config.message.parameters[_ENVIRONMENT].string_value if _ENVIRONMENT in config.message.parameters else ""
    first = path.removeprefix(_MODEL_FOLDER).strip("/").partition("/")[0]
    if config.backend != "python" or not path.startswith(_MODEL_FOLDER) or first in ("", ".", ".."):
        return
    if not config.model.unreadable and first not in config.model.entries:
        yield config.raised(
            f"{_ENVIRONMENT} names {_quoted(first)}, which is not in the model's folder; put it there, or mend "
            "the path",
            "parameters",
            _ENVIRONMENT,
        )


_MAPS = ("parameters", "cc_model_filenames", "metric_tags")


@rule(
    "MY421",
    Severity.WARNING,
    summary="a key that is stated twice",
    mend="Take the entry away that is not meant.",
    verdict=Verdict.LOADS,
)
def key_stated_twice(config: Config) -> Findings:
    """Triton loads it silently, and the last entry wins: a setting that was added below may undo this one."""
    found: list[tuple[str, str, Message]] = []
    for field in config.document.fields:
        if field.name in _MAPS:
            found += [(field.name, _key_of(entry), entry) for entry in _entries(field)]
    times = Counter((name, key) for name, key, _ in found)
    for name, key, entry in found:
        times[name, key] -= 1
        if times[name, key] > 0:
            yield Raised(
                f"{name} has the key {_quoted(key)} again below, which wins; take one of them away",
                config.path,
                entry.start,
                entry.end,
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
                f"the name has {_quoted(found[0])}, which the shell that starts a Python model's process reads; take "
                "letters, digits, and - _ . alone",
                *("instance_group", index, "name"),
            )


def _entries(field: Field) -> list[Message]:
    values = field.value.items if isinstance(field.value, Listing) else [field.value]
    return [value for value in values if isinstance(value, Message)]


def _key_of(entry: Message) -> str:
    scalars = [part.value for part in entry.fields if part.name == "key" and isinstance(part.value, Scalar)]
    return "".join(piece[1:-1] for piece in scalars[0].pieces) if scalars else ""
