"""Shares the models among forked processes, which inherit what was read and send back what they found."""

from __future__ import annotations

import copyreg
import signal
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import BY_CODE
from modelyard_build.repository.lint.run import Judged, judge_models
from modelyard_build.repository.lint.subjects import Model

# Small enough that no process waits long for the last one.
_MODELS_A_TURN = 25

# What a process was forked with.
_models: list[Model] = []
_rules: Collection[Rule] = ()


def judge_in_processes(models: list[Model], rules: Collection[Rule], processes: int) -> Judged:
    """What the rules find in models and their configs.

    Args:
        models: all of them.
        rules: those that are asked.
        processes: how many share the work.

    Raises:
        BuildError: one of the processes was ended from outside.
    """
    judged = Judged()
    # Forked, not spawned: a spawned process would import everything again and be sent all that was read.
    with ProcessPoolExecutor(processes, get_context("fork"), _inherit, (models, rules)) as pool:
        try:
            for part in pool.map(_judge, range(0, len(models), _MODELS_A_TURN)):
                judged.add(part)
        except BrokenProcessPool:
            raise BuildError(
                "a process of lint was ended from outside; was there too little memory? Name fewer models at a time."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return judged


def _inherit(models: list[Model], rules: Collection[Rule]) -> None:
    global _models, _rules
    # The parent answers Ctrl-C for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _models, _rules = models, rules


def _judge(start: int) -> Judged:
    return judge_models(_models[start : start + _MODELS_A_TURN], _rules)


def _by_code(code: str) -> Rule:
    return BY_CODE[code]


# A finding crosses to the parent with its rule's code: functions are the same on both sides.
copyreg.pickle(Rule, lambda rule: (_by_code, (rule.code,)))
