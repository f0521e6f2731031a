"""What the rules about artefacts share: the artefact of each served version, and what a finding about it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from modelyard_build.repository.lint.artefacts import Artefact, TensorInfo
from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.rule import Raised
from modelyard_build.repository.lint.rules.tensor_texts import VARIABLE, Stated, stated_tensors
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.syntax import Listing, Scalar

Bounds = tuple[tuple[int, ...], tuple[int, ...]]
Profile = dict[str, Bounds]
ENGINES = ("tensorrt", "tensorrt_rtx")
# Triton refuses `profile` of the other engines' backend, which serves all that an engine has.
_NAMES_PROFILES = ("tensorrt",)
# Backends that convert no type.
SAME_TYPE = ("onnxruntime", *ENGINES)
# Backends whose artefacts tell names and shapes.
SIGNED = ("onnxruntime", "openvino", *ENGINES)


@dataclass(frozen=True)
class Header:
    """The artefact of one version.

    Attributes:
        config: what it is held against.
        artefact: whose inputs and outputs are known.
        title: as messages call it: "1/model.onnx".
    """

    config: Config
    artefact: Artefact
    title: str

    @cached_property
    def inputs(self) -> dict[str, TensorInfo]:
        """By every name that a config may call them by; those with a default too."""
        return self._by_name(self.artefact.inputs or ())

    @cached_property
    def outputs(self) -> dict[str, TensorInfo]:
        """Likewise."""
        return self._by_name(self.artefact.outputs or ())

    def find(self, tensor: Stated) -> TensorInfo | None:
        """The artefact's tensor of that name."""
        return (self.inputs if tensor.kind == "input" else self.outputs).get(tensor.name)

    def _by_name(self, tensors: Iterable[TensorInfo]) -> dict[str, TensorInfo]:
        aliases = self.artefact.details.get("aliases", {})
        return {name: tensor for tensor in tensors for name in aliases.get(tensor.name, (tensor.name,))}

    @cached_property
    def batch(self) -> int | None:
        """The max_batch_size that it is served with, which a backend may complete; None where that cannot be told."""
        stated = int(self.config.message.max_batch_size)
        if stated:
            return stated
        if self.config.backend in ENGINES:
            return (
                0
                if self._lists_whole_shapes()
                else largest_batch([profile for each in served_profiles(self) for profile in each])
            )
        if self.config.backend == "openvino":
            return None if self.artefact.details.get("has_layout") else 0
        return None if self.is_completed and self.could_batch else 0

    @property
    def batches(self) -> bool:
        """Whether Triton puts the batch in front of dims."""
        return (self.batch or 0) > 0

    @property
    def is_completed(self) -> bool:
        """Whether inputs or outputs are left out; the onnxruntime backend completes nothing otherwise."""
        message = self.config.message
        return not ((message.input or message.batch_input) and message.output)

    @property
    def could_batch(self) -> bool:
        """Whether the first size of every tensor varies, those with a default apart."""
        optional = self.artefact.optional_inputs
        ends = [*self.inputs.values(), *self.outputs.values()]
        shapes = [tensor.shape for tensor in ends if tensor.name not in optional]
        return bool(shapes) and all(shape is not None and shape[:1] == (VARIABLE,) for shape in shapes)

    def _lists_whole_shapes(self) -> bool:
        """Whether a listed tensor has as many dims as the engine's, so that none is left for the batch."""
        for tensor in stated_tensors(self.config):
            found = self.find(tensor)
            is_ragged = tensor.kind == "input" and tensor.message.allow_ragged_batch
            if found and found.shape is not None and not is_ragged and len(tensor.shape) == len(found.shape):
                return True
        return False


def headers(config: Config, backends: Sequence[str]) -> list[Header]:
    """The artefact of each served version, where a backend of these serves it and it tells its tensors."""
    return _headers(config) if config.backend in backends else []


# Once for all rules: so are the mappings that each header makes.
@remembered
def _headers(config: Config) -> list[Header]:
    return [
        Header(config, artefact, title)
        for title, artefact in artefacts(config)
        if not artefact.problem and artefact.inputs is not None and artefact.outputs is not None
    ]


@remembered
def artefacts(config: Config) -> list[tuple[str, Artefact]]:
    """The artefacts of each served version that stand there, those that cannot be read too, by "1/model.onnx"."""
    return [
        (f"{version.number}/{filename}", version.artefact(config.backend, filename))
        for filename in filenames(config)
        for version in config.served
        if filename in version.entries
    ]


def filenames(config: Config) -> list[str]:
    """The artefact's file; of an engine the one for the machine, or without a machine each that may be served."""
    by_capability = dict(config.message.cc_model_filenames)
    if config.backend not in ENGINES or not by_capability:
        return [config.filename] if config.filename else []
    machine = config.settings.machine
    if machine is not None and machine.compute_capability:
        return [by_capability.get(machine.compute_capability, config.filename)]
    return sorted({*by_capability.values(), config.filename})


def once(found: Iterable[Iterable[Raised]]) -> Iterator[Raised]:
    """Several versions mostly break a rule at the same place: the first one's finding tells."""
    seen = set()
    for raised in (raised for each in found for raised in each):
        place = (raised.path, raised.start, raised.end, raised.message if not raised.end else "")
        if place not in seen:
            seen.add(place)
            yield raised


def replaced(config: Config, path: tuple[str | int, ...], text: str) -> tuple[Edit, ...]:
    """A value replaced, where it stands once, and one artefact alone decides."""
    place = config.bound.places.get(path)
    if place is None or len(artefacts(config)) != 1:
        return ()
    value = place.value
    is_all = isinstance(value, Listing) or (isinstance(value, Scalar) and path[-1] != "dims")
    return (Edit(value.start, value.end, text),) if is_all else ()


def served_profiles(header: Header) -> list[list[Profile]]:
    """The profiles of each instance group: those that it names, else the first, or all where none can be named."""
    profiles: Sequence[Profile] = header.artefact.details.get("profiles", ())
    unnamed = [0] if header.config.backend in _NAMES_PROFILES else list(range(len(profiles)))
    chosen = []
    for names in [group.profile for group in header.config.message.instance_group] or [()]:
        numbers = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 9] or unnamed
        chosen.append([profiles[number] for number in numbers if number < len(profiles)])
    return chosen


def largest_batch(profiles: Sequence[Profile]) -> int | None:
    """The largest batch that one of an engine's profiles takes; None where they do not tell."""
    sizes = [[most[0] for _, most in profile.values() if most] for profile in profiles]
    return max((min(each) for each in sizes if each), default=None)
