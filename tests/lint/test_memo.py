"""What is found out once for a subject."""

from __future__ import annotations

from modelyard_build.repository.lint.memo import remembered


class Subject:
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    @remembered
    def twice(self, text: str) -> str | None:
        """None is an answer like any other."""
        self.looks += 1
        return text * 2 or None


@remembered
def looks(subject: Subject, more: int = 0) -> list[int]:
    """What every caller shares."""
    subject.looks += 1
    return [subject.looks, more]


def test_each_question_is_looked_into_once() -> None:
    """By its arguments, also where the answer is None."""
    subject = Subject()
    assert [subject.twice(text) for text in ("a", "", "a", "")] == ["aa", None, "aa", None]
    assert subject.looks == 2


def test_functions_and_subjects_do_not_share_answers() -> None:
    """Each function has its own of each subject, positional and named arguments apart."""
    subject, other = Subject(), Subject()
    assert looks(subject) is looks(subject)
    assert (looks(subject), looks(other), looks(subject, more=2), subject.twice("a")) == ([1, 0], [1, 0], [2, 2], "aa")
