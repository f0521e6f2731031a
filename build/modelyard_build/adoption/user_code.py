"""A Python file of somebody's own, imported; what lies beside it can be imported by it.

It runs as it would run for its author: that is what `--from net.py` asks for.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from modelyard_build.adoption.running import apart, in_words
from modelyard_build.errors import AdoptionFailed


def import_file(path: Path) -> ModuleType:
    """Imports a file under its own name, within its package where it belongs to one.

    What was imported before from elsewhere under the name of a file beside it gives way: two models may each have a
    `layers.py`.

    Raises:
        AdoptionFailed: it raises, exits, or is called like a module that others use.
    """
    root, name = module_name(path)
    known = sys.modules.get(name)
    if known is not None and known.__name__ == name and _file_of(known) == path:
        return known
    _check_name(path, name)
    _put_aside(root)
    with _first_on_path(root), apart(), _without_bytecode():
        try:
            return importlib.import_module(name)
        # A stranger's file may raise anything, and leave.
        except (Exception, SystemExit) as error:
            sys.modules.pop(name, None)
            raise AdoptionFailed(f"{path} cannot be imported: {in_words(error)}.{_advice(error)}") from error


def module_name(path: Path) -> tuple[Path, str]:
    """The folder to import a file from, and the module's name there: within its package, where it belongs to one."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _file_of(module: ModuleType) -> Path | None:
    """Where a module lies; torch has some that name a file which is none."""
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) and Path(file).is_absolute() else None


def _check_name(path: Path, name: str) -> None:
    if not all(part.isidentifier() for part in name.split(".")):
        raise AdoptionFailed(f"{path} has a name that Python cannot import. Call it such as net.py.")
    root = name.split(".")[0]
    known = sys.modules.get(root)
    taken = root in sys.stdlib_module_names or (known is not None and "site-packages" in str(_file_of(known)))
    if taken and "." not in name:
        raise AdoptionFailed(
            f"{path} is called like the module {root!r} that other code imports, and would be taken for it. Give it "
            "another name, such as net.py."
        )


def _put_aside(root: Path) -> None:
    """Forgets modules that would be taken for those of this folder, and its own: they are imported anew."""
    own = {entry.stem for entry in root.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    for name, module in list(sys.modules.items()):
        file = _file_of(module) if name.split(".")[0] in own else None
        if file and "site-packages" not in file.parts and not _is_own(name):
            del sys.modules[name]


def _is_own(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names or name.startswith("modelyard_")


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Python looks there first while the file is imported, and last afterwards, for what forward itself imports."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


@contextlib.contextmanager
def _without_bytecode() -> Iterator[None]:
    """Leaves nothing in a stranger's folder."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def files_with(path: Path) -> list[Path]:
    """The file, and those below its folder that it imported: an edit of any makes another model."""
    root, _ = module_name(path)
    found = {file for name, module in list(sys.modules.items()) if (file := _file_of(module)) in _places(root, name)}
    return [path, *sorted(file for file in found if file and file != path)]


def _places(root: Path, name: str) -> tuple[Path, Path]:
    """Where a module of that name lies, where it was imported from a folder."""
    place = root.joinpath(*name.split("."))
    return place.with_suffix(".py"), place / "__init__.py"


def make(path: Path, name: str) -> nn.Module:
    """A module out of a file: a class or a function that is called without arguments, or a module that stands there.

    Args:
        path: the file.
        name: of the class, the function or the module.

    Returns:
        The module in eval mode, float32, on the CPU.

    Raises:
        AdoptionFailed: the file cannot be imported, has nothing of that name, or that makes no module.
    """
    file = import_file(path)
    if not hasattr(file, name):
        raise AdoptionFailed(f"{path} has no {name!r}. It has {_offers(file)}.")
    found = getattr(file, name)
    made = found if isinstance(found, nn.Module) else _call(path, name, found)
    if not isinstance(made, nn.Module):
        raise AdoptionFailed(
            f"{path}: {name} is, or makes, a {type(made).__name__}; expected is a torch.nn.Module. The file has "
            f"{_offers(file)}."
        )
    return made.float().cpu().eval()


def _call(path: Path, name: str, found: Any) -> Any:
    if not callable(found):
        return found
    if missing := required(found):
        given = ", ".join(f"{one}=..." for one in missing)
        raise AdoptionFailed(
            f"{path}: {name} needs arguments ({', '.join(missing)}), and nobody is there to give them. Write a "
            f"function that does, such as\n\n    def make():\n        return {name}({given})\n"
            f"\nand give --from {path.name}:make."
        )
    with apart(), _without_bytecode():
        try:
            return found()
        # As above.
        except (Exception, SystemExit) as error:
            raise AdoptionFailed(f"{path}: {name}() fails: {in_words(error)}.{_advice(error)}") from error


def required(found: Any) -> list[str]:
    """The arguments that a class or a function cannot be called without."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f" Install {error.name!r} beside modelyard: {sys.executable} -m pip install PACKAGE."
    if isinstance(error, SystemExit):
        return ' Put what a script does below `if __name__ == "__main__":`.'
    return ""


def modules_in(file: ModuleType) -> list[str]:
    """The names of the nn.Module classes that a file defines itself, without those that its others are made of."""
    classes = {name: value for name, value in vars(file).items() if _is_module_of(file, value)}
    used = {
        name
        for name, value in classes.items()
        for other in classes.values()
        if other is not value and _mentions(other, value)
    }
    return [name for name in classes if name not in used] or list(classes)


def _is_module_of(file: ModuleType, value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == file.__name__


def _mentions(user: type, used: type) -> bool:
    """Whether a class is made of another, or on top of it."""
    if issubclass(user, used):
        return True
    names = {used.__name__}
    functions = [value for value in vars(user).values() if inspect.isfunction(value)]
    return any(names & set(function.__code__.co_names) for function in functions)


def _offers(file: ModuleType) -> str:
    functions = [
        name
        for name, value in vars(file).items()
        if inspect.isfunction(value) and value.__module__ == file.__name__ and not name.startswith("_")
    ]
    classes = [name for name, value in vars(file).items() if _is_module_of(file, value)]
    instances = [name for name, value in vars(file).items() if isinstance(value, nn.Module)]
    return ", ".join([*classes, *(f"{name}()" for name in functions), *instances]) or "no class and no function"
