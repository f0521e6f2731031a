"""What is read or worked out once for a subject, however many rules ask for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

_Subject = TypeVar("_Subject")
_Asked = ParamSpec("_Asked")
_Found = TypeVar("_Found")
# Under which a subject has its answers.
_ANSWERS = "_remembered"


def remembered(
    look: Callable[Concatenate[_Subject, _Asked], _Found],
) -> Callable[Concatenate[_Subject, _Asked], _Found]:
    """Keeps what a function or method finds out about its first argument there, and looks once.

    All who ask share an answer, so that none may change it; it goes when the subject does.

    Args:
        look: its other arguments are hashable; each combination is looked for once.
    """

    @functools.wraps(look)
    def found(subject: _Subject, /, *args: _Asked.args, **kwargs: _Asked.kwargs) -> _Found:
        answers: dict[object, _Found] = subject.__dict__.setdefault(_ANSWERS, {})
        key = (look, args, *kwargs.items())
        if key not in answers:
            answers[key] = look(subject, *args, **kwargs)
        return answers[key]

    return found
