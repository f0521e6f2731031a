"""Where a model's files come from: a folder, or the hub, from which they are pinned by revision and SHA-256."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo

from modelyard_build.adoption.hugging_face.files import Files, in_folder
from modelyard_build.assets import PinnedAsset, cache_dir, cached_path, sha256_of
from modelyard_build.atomic import replacing
from modelyard_build.errors import AdoptionFailed, AssetUnavailable
from modelyard_build.module_checks import first_line
from modelyard_build.packages import CHUNK_BYTES, HubModel, Open

_TIMEOUT_S = 30.0
# Other libraries' forms of the same model stand in folders of their own.
_FOREIGN_FOLDERS = ("onnx", "openvino", "coreml", "original", "tflite")
_SETTINGS = re.compile(
    r"(.*/)?(config|modules|preprocessor_config|tokenizer_config|sentence_bert_config|.*\.index)\.json"
)
_SAFE = re.compile(r"(.*/)?model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"(.*/)?pytorch_model(-\d+-of-\d+)?\.bin")


def files_of(origin: str) -> Files:
    """The files of a folder, or of a name on the hub.

    Raises:
        AdoptionFailed: there is no such name, or no hub.
    """
    path = Path(origin).expanduser()
    return in_folder(path.absolute()) if path.is_dir() else _from_hub(origin)


def _from_hub(origin: str) -> Files:
    name, _, revision = origin.partition("@")
    info = _look_up(name, revision or None)
    model = HubModel(name, str(info.sha))
    # Of large files the hub knows the hash before they are fetched.
    hashes = {one.rfilename: one.lfs.sha256 if one.lfs else "" for one in info.siblings or ()}
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder, model.opened(Path(folder)) as opened:
        try:
            pinned = {member: _pin(model, member, hashes[member], opened) for member in _wanted(hashes)}
        except AssetUnavailable as error:
            raise AdoptionFailed(str(error)) from error
    return Files(origin, {member: cached_path(asset) for member, asset in pinned.items()}, pinned)


def _look_up(name: str, revision: str | None) -> ModelInfo:
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        return api.model_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
    except GatedRepoError as error:
        raise AdoptionFailed(
            f"{name} is given only to those who accepted its terms. Accept them at {api.endpoint}/{name}, run "
            "`hf auth login`, and run the command again."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise AdoptionFailed(
            f"{name}{f'@{revision}' if revision else ''} is neither a folder here nor a model on {api.endpoint}. "
            "Mend the name; for a private one run `hf auth login` first."
        ) from error
    # The client raises errors of its own, of its HTTP library and of the system.
    except Exception as error:
        raise AdoptionFailed(
            f"there is no folder {name} here, and the Hugging Face hub at {api.endpoint} cannot be reached: "
            f"{first_line(error)}. Where it can be, run `hf download {name} --local-dir {Path(name).name}`, bring that "
            f"folder here and give it to --from; or name a mirror in $HF_ENDPOINT."
        ) from error


def _wanted(members: Iterable[str]) -> list[str]:
    """The settings, and the weights in one form: safetensors where there are any."""
    own = [member for member in members if member.partition("/")[0] not in _FOREIGN_FOLDERS]
    safe = [member for member in own if _SAFE.fullmatch(member)]
    with_safe = {member.rpartition("/")[0] for member in safe}
    pickled = [member for member in own if _PICKLED.fullmatch(member) and member.rpartition("/")[0] not in with_safe]
    return [member for member in own if _SETTINGS.fullmatch(member)] + safe + pickled


def _pin(model: HubModel, member: str, known: str, opened: Open) -> PinnedAsset:
    """A file in the cache, under the hash of what came."""
    if known and cached_path(PinnedAsset(model, member, known)).is_file():
        return PinnedAsset(model, member, known)
    fetched = cache_dir() / "assets" / f"{uuid.uuid4()}.fetched"
    with replacing(fetched) as partial:
        with opened(member) as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
        found = PinnedAsset(model, member, sha256_of(partial))
        if known and found.sha256 != known:
            raise AssetUnavailable(
                f"{member} of {model} has SHA-256 {found.sha256}, the hub says {known}: it was damaged or changed on "
                "its way. Run the command again."
            )
    cached_path(found).parent.mkdir(exist_ok=True)
    fetched.replace(cached_path(found))
    return found
