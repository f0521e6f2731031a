"""A model by its name on the Hugging Face hub, against a server that speaks the hub's protocol on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_build.adoption.declaration import render
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Wish
from modelyard_build.adoption.origins import hugging_face as origin
from modelyard_build.assets import cached_path, fetch
from modelyard_build.errors import AdoptionFailed, AssetUnavailable
from support.hugging_face import save

NAME = "somebody/small-bert"
REVISION = "0123456789abcdef0123456789abcdef01234567"
GATED = "somebody/gated"


class Hub(BaseHTTPRequestHandler):
    """The parts of the hub's HTTP interface that a download needs."""

    protocol_version = "HTTP/1.1"
    folder: Path
    # What the hub says of the weights; another hash than theirs where a test wants it.
    sha256: str

    def do_HEAD(self) -> None:  # the base class's name
        """As GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:  # the base class's name
        """Either what is known of a model, or one of its files."""
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{GATED}"):
            return self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if path.startswith(f"/api/models/{NAME}"):
            return self._answer(200, json.dumps(self._model()).encode(), {"Content-Type": "application/json"})
        file = self.folder / path.removeprefix(f"/{NAME}/resolve/{REVISION}/")
        if path.startswith(f"/{NAME}/resolve/{REVISION}/") and file.is_file():
            content = file.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION})
        return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _model(self) -> dict[str, Any]:
        files: list[dict[str, Any]] = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
        for file in files:
            if file["rfilename"] == "model.safetensors":
                size = (self.folder / "model.safetensors").stat().st_size
                file["lfs"] = {"sha256": self.sha256, "size": size, "pointerSize": 134}
        return {"id": NAME, "modelId": NAME, "sha": REVISION, "siblings": files, "tags": [], "private": False}

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Says nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub with one model, and a cache of its own."""
    folder = tmp_path / "hub"
    save("bert", folder, num_hidden_layers=1)
    (folder / "README.md").write_text("not fetched")
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    handler = type("OwnHub", (Hub,), {"folder": folder, "sha256": sha256})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_is_pinned_by_revision_and_hash(hub: type[Hub], tmp_path: Path) -> None:
    """The declaration names the commit and every file's SHA-256, and fetches them anew where the cache is empty."""
    wish = Wish("small_bert", NAME)
    opened = origin.open_model(wish)
    assert {asset.sha256 for asset in opened.pinned.values()} >= {hub.sha256}
    inspected = inspect(opened, print)
    path = tmp_path / "small_bert.py"
    path.write_text(render(wish, opened, inspected))
    np.savez(path.with_suffix(".npz"), **inspected.example)
    assert f'HUB = HubModel("{NAME}", "{REVISION}")' in path.read_text()
    specification = importlib.util.spec_from_file_location("declared_small_bert", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    (model,) = module.MODELS
    for asset in model.assets.values():
        cached_path(asset).unlink()
    model.load(fetch(model.assets, print))


def test_nothing_but_settings_and_weights_is_fetched(hub: type[Hub]) -> None:
    """The cache holds the config and the weights, each under its hash."""
    opened = origin.open_model(Wish("small_bert", NAME))
    assert {asset.member for asset in opened.pinned.values()} == {"config.json", "model.safetensors"}
    assert all(path.parent.name == opened.pinned[name].sha256 for name, path in opened.assets.items())


def test_weights_that_changed_on_their_way_are_refused(hub: type[Hub]) -> None:
    """The hub says what the hash of large files is."""
    hub.sha256 = "0" * 64
    with pytest.raises(AdoptionFailed, match="the hub says 0000"):
        origin.open_model(Wish("small_bert", NAME))


@pytest.mark.parametrize(
    ("name", "said"), [("somebody/nothing", "is neither a folder here nor a model on"), (GATED, "accepted its terms")]
)
def test_a_name_that_cannot_be_had(hub: type[Hub], name: str, said: str) -> None:
    """A name that the hub does not give says why, and what to do."""
    with pytest.raises(AdoptionFailed, match=said):
        origin.open_model(Wish("model", name))


def test_without_a_hub_it_says_how_to_bring_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a network a folder does it."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AdoptionFailed, match=r"hf download intfloat/e5-small-v2 --local-dir e5-small-v2"):
        origin.open_model(Wish("model", "intfloat/e5-small-v2"))


def test_a_file_that_left_the_hub(hub: type[Hub]) -> None:
    """A declaration whose files are gone from cache and hub says which."""
    opened = origin.open_model(Wish("small_bert", NAME))
    (hub.folder / "config.json").unlink()
    cached_path(opened.pinned["config"]).unlink()
    with pytest.raises(AssetUnavailable, match=r"config\.json"):
        fetch(opened.pinned, print)
