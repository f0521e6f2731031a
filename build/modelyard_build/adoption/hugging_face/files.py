"""The files of a model of the transformers library, wherever they come from, and what the small ones say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard_build.adoption.hugging_face.configs import read_json
from modelyard_build.adoption.hugging_face.inputs import Hints
from modelyard_build.assets import PinnedAsset
from modelyard_build.errors import AdoptionFailed

CONFIG = "config.json"
MODULES = "modules.json"
# In the order in which they are asked for: the index stands for the parts that it lists.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_FOREIGN = ("*.h5", "*.msgpack", "*.gguf", "*.onnx", "*.ckpt", "adapter_model.*")


@dataclass(frozen=True)
class Files:
    """A model's files by their path in its folder.

    Attributes:
        origin: for messages: the folder or the name on the hub.
        paths: where each lies here.
        pinned: how each that is not the user's own is fetched again.
    """

    origin: str
    paths: Mapping[str, Path]
    pinned: Mapping[str, PinnedAsset] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The origin without the folders that it stands in."""
        return Path(self.origin).name if Path(self.origin).is_absolute() else self.origin

    def path(self, name: str) -> Path:
        """Where a file lies that has to be there.

        Raises:
            AdoptionFailed: it is not.
        """
        if name not in self.paths:
            raise AdoptionFailed(
                f"{self.origin} has no {name}. Expected is what `model.save_pretrained(FOLDER)` wrote."
            )
        return self.paths[name]

    def json(self, name: str) -> dict[str, Any]:
        """What a JSON file says; nothing where there is no such file."""
        return read_json(self.paths[name], dict) if name in self.paths else {}


def in_folder(folder: Path) -> Files:
    """The files of a folder, and of the folders in it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return Files(str(folder), found)


def weights_of(files: Files, folder: str = "") -> list[str]:
    """The files that hold the weights: one, or the parts that an index lists.

    Raises:
        AdoptionFailed: there are none, or a part is missing.
    """
    found = next((name for name in _WEIGHTS if folder + name in files.paths), None)
    if found is None:
        raise AdoptionFailed(_no_weights(files, folder))
    if not found.endswith(".index.json"):
        return [folder + found]
    parts = sorted({folder + str(part) for part in (files.json(folder + found).get("weight_map") or {}).values()})
    if absent := [part for part in parts if part not in files.paths]:
        raise AdoptionFailed(
            f"{files.origin} lacks {', '.join(absent)}, of the {len(parts)} parts that {folder + found} lists. Fetch "
            "what is missing."
        )
    return parts


def _no_weights(files: Files, folder: str) -> str:
    foreign = [name for name, path in files.paths.items() if any(path.match(pattern) for pattern in _FOREIGN)]
    got = f"There are {', '.join(foreign[:3])}, which are read by other libraries. " if foreign else ""
    return (
        f"{files.origin} has no weights: expected is {folder}model.safetensors or {folder}pytorch_model.bin, or their "
        f"parts with an index. {got}Save them with `model.save_pretrained(FOLDER)`."
    )


def hints_of(files: Files) -> Hints:
    """What the files beside config.json say of the inputs."""
    return Hints(
        preprocessor=files.json("preprocessor_config.json"),
        tokenizer=files.json("tokenizer_config.json"),
        max_seq_length=int(files.json("sentence_bert_config.json").get("max_seq_length") or 0),
    )
