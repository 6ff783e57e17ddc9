"""The module with which learners check their answers, and the answers of every exercise."""

import json
import math
import re
import runpy
from fractions import Fraction

import gluonlm_course
import nbformat
import numpy as np
import pytest
from conftest import ROOT
from execute import execute
from gluonlm_course import check, exercises, lessons, progress, store, verdict
from gluonlm_course.answers import Array, Choice, Function, Number, Several, Shape, Text

import gluonlm  # noqa: F401  (before MXNet)

TUTORIALS = ROOT / "tutorials"
NOTEBOOKS = {int(path.name[:2]): path for path in TUTORIALS.glob("[0-9][0-9]-*.ipynb")}
WITHOUT_ANSWERS: set[int] = set()  # never add a lesson

ANSWERS = {
    f"{lesson:02}.{number}": answer
    for lesson in lessons()
    for number, answer in exercises(lesson).items()
}
every_exercise = pytest.mark.parametrize("name, answer", ANSWERS.items(), ids=ANSWERS)
every_lesson = pytest.mark.parametrize("lesson", lessons())


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """Return the file of the progress, empty, in place of the user's."""
    monkeypatch.setattr(store, "_session", set())
    monkeypatch.setenv("GLUONLM_COURSE", str(tmp_path / "progress" / "course.json"))
    monkeypatch.delenv("GLUONLM_TUTORIAL", raising=False)
    monkeypatch.delenv("GLUONLM_CORPUS", raising=False)
    return tmp_path / "progress" / "course.json"


def right(answer):
    """Return answers that are right."""
    if isinstance(answer, Number):
        if answer.value is None:
            return [edge for edge in (answer.low, answer.high) if math.isfinite(edge)]
        slack = 0.99 * max(answer.within, abs(answer.value) * answer.relative)
        return [answer.value, np.float64(answer.value - slack), answer.value + slack]
    if isinstance(answer, Choice):
        return [answer.value, f" {answer.value.upper()}\n"]
    if isinstance(answer, Function):
        return [answer.reference]
    if isinstance(answer, Several):
        parts = {name: right(part)[0] for name, part in answer.parts.items()}
        return [parts, tuple(parts.values()), list(parts.values())]
    return [answer.value]


def wrong(answer):
    """Return plausible answers that are wrong."""
    if isinstance(answer, Number):
        if answer.value is None:
            width = answer.high - answer.low if math.isfinite(answer.high - answer.low) else 1.0
            outside = [answer.low - 0.01 * width, answer.high + 0.01 * width]
        else:
            slack = max(answer.within, abs(answer.value) * answer.relative, 1e-9)
            outside = [answer.value + 1.1 * slack, -answer.value - 1, 10 * answer.value + 1]
        return [*answer.wrong, *filter(math.isfinite, outside)]
    if isinstance(answer, Choice):
        return [option for option in answer.options if option != answer.value]
    if isinstance(answer, Text):
        return [*answer.wrong, answer.value[1:], answer.value + "s"]
    if isinstance(answer, Shape):
        return [*answer.wrong, answer.value + (1,), tuple(size + 1 for size in answer.value)]
    if isinstance(answer, Array):
        return [np.asarray(answer.value) + 1, -np.asarray(answer.value) - 1]
    if isinstance(answer, Function):
        return [*answer.wrong, lambda *arguments: None, lambda: 1, raises]
    parts = {name: right(part)[0] for name, part in answer.parts.items()}
    return [
        {**parts, name: mistake} for name, part in answer.parts.items() for mistake in wrong(part)
    ]


def raises(*arguments):
    raise ZeroDivisionError("in two\nlines")


def hints(answer):
    """Return every hint of an answer."""
    if isinstance(answer, Several):
        return [hint for part in answer.parts.values() for hint in hints(part)] + [answer.hint]
    return [answer.hint, *getattr(answer, "wrong", {}).values()]


def malformed():
    """Return answers of wrong types: none of them is an answer to any exercise."""
    from mxnet import nd

    return [
        *(None, float("nan"), float("inf"), "2.5", b"2.5", 1j, True, object(), int, {}, [], ()),
        *(nd.zeros((2, 3, 4)), nd.array([float("nan")]), np.array("a"), np.zeros(0)),
        *([[1], [2, 3]], {"a": 1}, [None, None], ("a", "b"), np.array([None])),
        *({1, 2}, range(0), (each for each in "ab"), print, len, NotImplemented),
    ]


@every_exercise
def test_right_answers_are_right(name, answer):
    for given in right(answer):
        found = verdict(name, given)
        assert found.right, (given, found.line)
        assert found.line.startswith(f"{name} right: ")
        assert found.line.endswith(".") and len(found.line) < 160, found.line


@every_exercise
def test_wrong_answers_get_a_hint(name, answer):
    for given in wrong(answer):
        found = verdict(name, given)
        assert not found.right, given
        assert re.fullmatch(rf"{name} not yet: \S.{{10,}}", found.line), found.line
    assert all(re.search(r"[a-z?.:]", hint) and len(hint) < 200 for hint in hints(answer) if hint)


@every_exercise
def test_malformed_answers_name_the_expected_type_in_one_line(name, answer):
    for given in malformed():
        found = verdict(name, given)
        assert not found.right, given
        assert "\n" not in found.line and len(found.line) < 400
        if not callable(given):
            assert "expected " in found.line, found.line
    assert "no answer so far; expected " in verdict(name, ...).line


@every_exercise
def test_hints_do_not_contain_the_answer(name, answer):
    for part in answer.parts.values() if isinstance(answer, Several) else [answer]:
        text = " ".join(hints(part))
        if isinstance(part, Choice):
            assert not re.search(rf"\b{re.escape(part.value)}\b", text) or all(
                option in text for option in part.options
            )
        elif isinstance(part, Number) and part.value not in (None, 0, 1, 2):
            numbers = [float(each) for each in re.findall(r"\d+(?:\.\d+)?", text)]
            assert not any(part.judge(number) is None for number in numbers), text


@every_exercise
def test_typical_mistakes_get_their_own_hints(name, answer):
    for part in answer.parts.values() if isinstance(answer, Several) else [answer]:
        for mistake in getattr(part, "wrong", {}):
            assert part.judge(mistake) in part.wrong.values(), mistake


def test_the_list_of_lessons_without_answers_only_shrinks():
    assert set(NOTEBOOKS) - set(lessons()) <= WITHOUT_ANSWERS
    assert set(lessons()) <= set(NOTEBOOKS)


def cells(path):
    return nbformat.read(path, as_version=4).cells


@every_lesson
def test_each_exercise_of_a_lesson_calls_check_and_has_an_answer(lesson):
    (cell,) = [cell for cell in cells(NOTEBOOKS[lesson]) if "## Exercises" in cell.source]
    stated = cell.source.partition("## Exercises")[2].partition("\n## ")[0]
    items = re.split(r"^(\d)\. ", stated, flags=re.M)[1:]
    assert [int(number) for number in items[::2]] == list(exercises(lesson))
    for number, item in zip(items[::2], items[1::2]):
        called = re.findall(r'check\("(.+?)",', item)
        assert set(called) == {f"{lesson:02}.{number}"}, item
    assert "from gluonlm_course import check" in stated
    title = cells(NOTEBOOKS[lesson])[0].source.splitlines()[0]
    module = runpy.run_path(str(TUTORIALS / f"gluonlm_course/lesson_{lesson:02}.py"))
    assert title.startswith(f"# {lesson}. ")
    assert title.lower().endswith(module["TITLE"].lower())


@every_lesson
def test_the_solutions_pass_the_check(lesson):
    path = TUTORIALS / "solutions" / NOTEBOOKS[lesson].name
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    for number, answer in exercises(lesson).items():
        assert f"{lesson:02}.{number} right: {answer.why}\n" in printed
    assert not re.search(r"^\d\d\.\d not yet: ", printed, re.M)


# the module itself


def test_a_check_prints_one_line(capsys):
    assert check("09.1", (0.9**20, 0.9)) is None
    check("9.1", (0.5, 0.9))
    check("09.1", ...)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("09.1 right: ")
    assert lines[1].startswith("09.1 not yet: fresh masks: ")
    assert lines[2].startswith("09.1 not yet: no answer so far")
    assert len(lines) == 3


@pytest.mark.parametrize("exercise", ["09.9", "9.0", "99.1", "nonsense", None, 3, "", "09.1.2"])
def test_an_unknown_exercise_gets_the_list_of_those_that_exist(exercise, capsys):
    check(exercise, 1)
    (line,) = capsys.readouterr().out.splitlines()
    assert "09.1, 09.2, 09.3" in line or ("lessons with answers: " in line and " 09," in line)


def test_a_number_may_be_of_any_numeric_type_and_has_tolerances():
    from mxnet import nd

    number = Number(0.469, within=0.002, hint="the unit?", wrong={0.325: "these are nats"})
    for given in (
        0.468,
        np.float32(0.4691),
        np.array([0.469]),
        nd.array([0.469]),
        Fraction(47, 100),
    ):
        assert number.problem(given) is None
    assert number.problem(0.4) == "the unit?"
    assert number.problem(0.3251) == "these are nats"
    assert number.problem("0.469") == "expected a number, got the string '0.469'."
    assert number.problem(np.zeros(3)) == "expected a number, got ndarray of shape (3,)."
    assert Number(3).problem(3) is None and Number(3, hint="no").problem(4) == "no"
    assert Number(low=1, high=2).problem(2) is None


def test_a_text_a_shape_and_an_array():
    from mxnet import nd

    assert Text("Hidden state").problem("hidden  STATE") is None
    assert Text("aB", exact=True, hint="case").problem("ab") == "case"
    assert Shape((2, 3)).problem([2, 3]) is None
    assert Shape((2, 3)).problem(np.zeros((2, 3)).shape) is None
    assert "another order" in Shape((2, 3)).problem((3, 2))
    assert "number of axes" in Shape((2, 3)).problem((6,))
    assert "expected a shape" in Shape((2, 3)).problem(6)
    assert "expected a shape" in Shape((2, 3)).problem((2, "3"))
    array = Array([[1, 2], [3, 4]], hint="sorted?")
    assert array.problem(nd.array([[1, 2], [3, 4]])) is None
    assert array.problem([nd.array([1, 2]), nd.array([3, 4])]) is None
    assert array.problem([[1, 2], [3, 5]]) == "1 of 4 values differ, the first at [1, 1]. sorted?"
    assert array.problem([1, 2]) == (
        "expected an array of numbers of shape (2, 2), got shape (2,)."
    )


def test_a_function_is_tried_silently_on_copies_of_the_inputs(capsys):
    function = Function(
        lambda row: {"sum": sum(row), "last": (row[-1], "x")},
        trials=lambda: [([1, 2],), ([3],)],
        hint="add",
    )

    def loud(row):
        print("loud")
        return {"sum": sum(row), "last": (row.pop(), "x")}

    def leaves(row):
        raise SystemExit

    assert function.problem(loud) is None
    assert capsys.readouterr().out == ""
    assert function.problem(sum) == "3 for the input [1, 2] is wrong. add"
    assert function.problem(raises) == "ZeroDivisionError for the input [1, 2]: in two lines"
    assert function.problem(leaves).startswith("SystemExit")
    assert "TypeError" in function.problem(lambda: 1)
    assert "is wrong" in function.problem(lambda row: {"sum": 3, "last": (2, "y")})
    assert "is wrong" in function.problem(lambda row: {"sum": 3})


def test_an_answer_that_cannot_be_read_is_no_error():
    class Broken:
        def asnumpy(self):
            raise RuntimeError("lost")

    assert "RuntimeError" in Number(1).problem(Broken())
    assert "b: no answer" in Several({"a": Number(1), "b": Number(2)}).problem((1, ...))


def test_hints_mention_settings_that_change_the_answers(monkeypatch):
    monkeypatch.setenv("GLUONLM_CORPUS", "nietzsche")
    assert "default text" in verdict("09.2", 0).line
    assert "default text" not in verdict("09.2", 5).line
    monkeypatch.setenv("GLUONLM_TUTORIAL", "short")
    assert "short" in verdict("09.2", 0).line


def test_progress_is_stored_and_shown(own_progress, monkeypatch, capsys):
    check("09.1", (0.9**20, 0.9))
    check("09.3", "dropout")
    monkeypatch.setattr(store, "_session", set())  # another session
    check("25.3", 0)
    capsys.readouterr()
    progress()
    table = capsys.readouterr().out
    assert re.search(r"^ 9 Regularising +✓ · · +1 of 3$", table, re.M)
    assert re.search(r"^25 Inside a fused layer +· · ✓ · +1 of 4$", table, re.M)
    assert re.search(rf"^ +total +2 of {len(ANSWERS)}$", table, re.M)
    assert json.loads(own_progress.read_text()) == {"right": ["09.1", "25.3"]}
    assert [path.name for path in own_progress.parent.iterdir()] == ["course.json"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"right": 3}', '{"right": [1, null]}', "\xff"])
def test_a_damaged_file_of_the_progress_is_replaced(own_progress, content):
    own_progress.parent.mkdir()
    own_progress.write_text(content, encoding="latin-1")
    progress()
    assert verdict("25.3", 0).right
    assert "25.3" in json.loads(own_progress.read_text())["right"]


def test_progress_needs_no_writable_home(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLUONLM_COURSE", str(tmp_path / "file" / "course.json"))
    check("25.3", 0)
    progress()
    done = capsys.readouterr()
    assert f"1 of {len(ANSWERS)}" in done.out and done.err == ""
    for named, data, expected in (
        (None, "/data", "/data/gluonlm/course.json"),
        (None, "relative", str(tmp_path / ".local/share/gluonlm/course.json")),
        ("", "/data", None),
    ):
        monkeypatch.delenv("GLUONLM_COURSE", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_DATA_HOME", data)
        if named is not None:
            monkeypatch.setenv("GLUONLM_COURSE", named)
        assert store.path() == expected or str(store.path()) == expected


def test_it_is_installed_with_the_package(monkeypatch):
    asked = {}
    monkeypatch.setattr("setuptools.setup", lambda **about: asked.update(about))
    runpy.run_path(str(ROOT / "setup.py"))
    assert "gluonlm_course" in asked["packages"]
    assert (ROOT / asked["package_dir"]["gluonlm_course"] / "__init__.py").exists()
    assert gluonlm_course.__all__ == ["check", "exercises", "lessons", "progress", "verdict"]


@pytest.mark.long
def test_an_executed_notebook_finds_it_and_leaves_the_users_progress_alone(tmp_path, own_progress):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "from gluonlm_course import check, progress\n"
                "check('25.3', 0); progress()\n"
                "import gluonlm_course; print(gluonlm_course.__file__)"
            )
        ]
    )
    nbformat.write(notebook, tmp_path / "made.ipynb")
    printed = execute(tmp_path / "made.ipynb").cells[0].outputs[0].text
    assert "25.3 right: " in printed
    assert str(TUTORIALS / "gluonlm_course") in printed
    assert not own_progress.exists()
