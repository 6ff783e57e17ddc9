"""Check answers to the exercises of the course.

    from gluonlm_course import check, progress

    check("06.2", answer)  # lesson 6, exercise 2: prints one line
    progress()             # prints a table of the exercises answered so far

`check` prints either that the answer is right, and why, or a hint. It never prints the solution and
never raises an exception because of an answer. An answer of `...` means "not attempted yet".

The answers of lesson 6 are in `lesson_06.py`:

    from gluonlm_course.answers import Choice, Number

    TITLE = "RNN, LSTM, GRU"  # as in the first line of the lesson
    EXERCISES = {
        1: Number(0.469, within=0.002, why="Nobody ...", hint="Take ...", wrong={0.325: "..."}),
        2: Choice("lstm", options=("rnn", "lstm", "gru"), why="Its ...", hint="Compare ..."),
    }

A lesson module must import quickly: it may import NumPy, but not MXNet or gluonlm.
"""

import importlib
import os
import pkgutil
import re
from dataclasses import dataclass

from gluonlm_course import store
from gluonlm_course.answers import Answer

__all__ = ["check", "exercises", "lessons", "progress", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """The result of a check: whether the answer is right, and the line to print."""

    right: bool
    line: str


def check(exercise: str, answer: object) -> None:
    """Print whether an answer is right, or a hint, in one line.

    Parameters
    ----------
    exercise
        Lesson and number of the exercise, as "06.2".
    answer
        The answer: a number, string, tuple, array or function, as the exercise asks.
    """
    print(verdict(exercise, answer).line)


def verdict(exercise: str, answer: object) -> Verdict:
    """Return the verdict that `check` prints, and store a right answer for `progress`."""
    found = re.fullmatch(r"\s*(\d{1,2})\.(\d)\s*", str(exercise))
    if not found or int(found[1]) not in lessons():
        known = ", ".join(f"{lesson:02}" for lesson in lessons())
        return Verdict(False, f"{_short(exercise)}: no such lesson; lessons with answers: {known}")
    lesson, number = int(found[1]), int(found[2])
    of_lesson = exercises(lesson)
    name = f"{lesson:02}.{number}"
    if number not in of_lesson:
        known = ", ".join(f"{lesson:02}.{each}" for each in of_lesson)
        return Verdict(False, f"{name}: no such exercise; lesson {lesson} has {known}")
    hint = of_lesson[number].problem(answer)
    if hint is None:
        store.add(name)
        return Verdict(True, _line(f"{name} right: {of_lesson[number].why}"))
    return Verdict(False, _line(f"{name} not yet: {hint}{_setting()}"))


def lessons() -> list[int]:
    """Return the numbers of the lessons that have answers."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(int(name[7:]) for name in names if re.fullmatch(r"lesson_\d\d", name))


def exercises(lesson: int) -> dict[int, Answer]:
    """Return the exercises of a lesson: number to expected answer."""
    return importlib.import_module(f"{__name__}.lesson_{lesson:02}").EXERCISES


def progress() -> None:
    """Print the exercises answered right so far, lesson by lesson, and the total.

    They are stored in `~/.local/share/gluonlm/course.json` (or below `XDG_DATA_HOME`, or in the
    file that `GLUONLM_COURSE` names); where that file cannot be written, only this session counts.
    """
    right, total = store.load(), 0
    for lesson in lessons():
        title = getattr(importlib.import_module(f"{__name__}.lesson_{lesson:02}"), "TITLE", "")
        solved = [f"{lesson:02}.{number}" in right for number in exercises(lesson)]
        total += len(solved)
        ticks = " ".join("✓" if each else "·" for each in solved)
        print(f"{lesson:2} {title:36.36} {ticks:8} {sum(solved)} of {len(solved)}")
    known = {f"{lesson:02}.{number}" for lesson in lessons() for number in exercises(lesson)}
    print(f"   {'total':45} {len(right & known)} of {total}")


def _setting() -> str:
    """Return a note on settings under which the expected numbers do not apply."""
    if os.environ.get("GLUONLM_TUTORIAL") == "short":
        return " (GLUONLM_TUTORIAL=short: these networks are trained too briefly to answer.)"
    if os.environ.get("GLUONLM_CORPUS", "python-docs") != "python-docs":
        return " (The expected answers are for the default text, not for GLUONLM_CORPUS.)"
    return ""


def _line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def _short(value: object) -> str:
    return str(value)[:40]
