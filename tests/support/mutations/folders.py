"""Changes of a model's folder: versions and files that are missing, misnamed, cut off, or where they do not belong."""

from __future__ import annotations

from hypothesis import strategies as st

from support.mutations.mutant import Files, Mutant

VERSIONS = (
    *("0", "01", "2", "3", "10", "-1", "1.0", "v1", "1 ", "current", "+1", "\u0661", "4294967296"),
    *("9223372036854775807", "9223372036854775808"),
)
NAMES = ("model.onnx", "model.py", "model.plan", "Model.onnx", "model.onnx.tmp", "model", "config.pbtxt", "labels.txt")


def _own(mutant: Mutant) -> list[str]:
    """The files of the changed model, the config left out."""
    return [name for name in mutant.files if name.startswith(f"{mutant.model}/") and not name.endswith("/config.pbtxt")]


def _versions(mutant: Mutant) -> list[str]:
    inner = [name.split("/")[1:] for name in _own(mutant)]
    return sorted({parts[0] for parts in inner if parts and parts[0].isdigit()})


def _moved(files: Files, old: str, new: str) -> dict[str, bytes | None]:
    """The files with one path, or what begins with it, called otherwise."""
    return {
        new + name[len(old) :] if name == old or name.startswith(f"{old}/") else name: content
        for name, content in files.items()
    }


@st.composite
def version_renamed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """A version's folder has another name."""
    old, new = draw(st.sampled_from(_versions(mutant) or ["1"])), draw(st.sampled_from(VERSIONS))
    files = _moved(mutant.files, f"{mutant.model}/{old}", f"{mutant.model}/{new}")
    return mutant.with_files(files, f"version {old} is called {new!r}")


@st.composite
def version_added(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """One more version: empty, half or whole."""
    old, new = draw(st.sampled_from(_versions(mutant) or ["1"])), draw(st.sampled_from(VERSIONS))
    whole = {name: content for name, content in mutant.files.items() if name.startswith(f"{mutant.model}/{old}/")}
    kept = {f"{mutant.model}/{new}{name[len(f'{mutant.model}/{old}') :]}": content for name, content in whole.items()}
    half = draw(st.booleans())
    added: Files = kept if kept and not half else {f"{mutant.model}/{new}": None}
    return mutant.with_files(
        {**mutant.files, **added}, f"version {new!r} beside it, {'whole' if added is kept else 'empty'}"
    )


@st.composite
def file_removed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """A file is missing, or a whole version."""
    folders = [f"{mutant.model}/{version}" for version in _versions(mutant)]
    gone = draw(st.sampled_from([*_own(mutant), *folders] or ["-"]))
    files = {name: each for name, each in mutant.files.items() if name != gone and not name.startswith(f"{gone}/")}
    if not draw(st.booleans()):
        files[gone.rpartition("/")[0]] = None
    return mutant.with_files(_sound(files), f"without {gone}")


@st.composite
def file_renamed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """A file has another name, or stands one folder higher."""
    old = draw(st.sampled_from(_own(mutant) or [f"{mutant.model}/config.pbtxt"]))
    folder, _, name = old.rpartition("/")
    new = draw(st.sampled_from([f"{folder}/{other}" for other in NAMES] + [f"{mutant.model}/{name}", f"{old}/{name}"]))
    if new in mutant.files:
        return mutant
    return mutant.with_files(_sound(_moved(mutant.files, old, new)), f"{old} is {new}")


@st.composite
def file_changed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """A file is cut off, longer, empty or something else."""
    files = [name for name in _own(mutant) if mutant.files[name] is not None]
    if not files:
        return mutant
    name = draw(st.sampled_from(files))
    content = mutant.files[name] or b""
    others = [
        b"",
        content[: len(content) // 2],
        content[:-1],
        content + b"\0",
        content + content,
        b"\xff" * 64,
        b"text\n",
    ]
    index = draw(st.integers(0, len(others) - 1))
    return mutant.with_files({**mutant.files, name: others[index]}, f"{name} has other content ({index})")


@st.composite
def config_misplaced(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """The config is missing, misnamed, twice, or in a version."""
    own = f"{mutant.model}/config.pbtxt"
    others = {name: content for name, content in mutant.files.items() if name != own}
    version = (_versions(mutant) or ["1"])[0]
    place = draw(
        st.sampled_from(
            ["config.pbtx", "Config.pbtxt", "config.pbtxt.txt", "configs/cpu.pbtxt", f"{version}/config.pbtxt"]
        )
    )
    beside = draw(st.booleans())
    files = {**(mutant.files if beside else others), f"{mutant.model}/{place}": mutant.config}
    return mutant.with_files(_sound(files), f"config at {place}{', too' if beside else ''}")


def _sound(files: Files) -> Files:
    """Without empty folders that others make, or that are files."""
    return {
        name: content
        for name, content in files.items()
        if name and (content is not None or not any(other.startswith(f"{name}/") for other in files))
    }
