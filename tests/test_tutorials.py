"""The course: every lesson and every solution runs, and all have the same form."""

import html
import io
import os
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import nbformat
import pdf
import pytest
from conftest import ROOT
from execute import IMAGES, TutorialError, cover, execute, lessons, normalise, shrink

COURSE = [
    "00-mxnet-in-fifteen-minutes",
    "01-why-order-matters",
    "02-text-to-numbers",
    "03-unrolled-rnn",
    "04-batches-through-time",
    "05-back-propagation-through-time",
    "06-rnn-lstm-gru",
    "07-training",
    "08-validation-and-checkpoints",
    "09-regularising",
    "10-variants",
    "11-depth-and-initialisation",
    "12-parallel-recurrence",
    "13-generating",
    "14-beam-search-and-drift",
    "15-words",
    "16-subwords",
    "17-tags-and-series",
    "18-attention",
    "19-sequence-to-sequence",
    "20-small-gpt",
    "21-memory-at-test-time",
    "22-inside-the-network",
    "23-devices-and-speed",
    "24-taking-it-along",
    "25-inside-a-fused-layer",
]
TUTORIALS = ROOT / "tutorials"
LESSONS, SOLUTIONS = lessons(TUTORIALS), lessons(TUTORIALS / "solutions")
HERE = "|".join(
    re.escape(str(path))
    for path in (ROOT.parent, Path.home(), Path(sys.prefix))
    if path != Path(path.anchor)
)
# a path of this machine, a warning, terminal colours
MACHINE_SPECIFIC = rf"{HERE}|/home/|/tmp/|/Users/|[A-Z]\w*Warning\b|\x1b\["


def name(path):
    return path.stem if path.parent == TUTORIALS else f"solutions-{path.stem}"


every_lesson = pytest.mark.parametrize("path", LESSONS, ids=name)
every_notebook = pytest.mark.parametrize("path", LESSONS + SOLUTIONS, ids=name)


def cells(path, kind=None):
    return [
        cell for cell in nbformat.read(path, as_version=4).cells if kind in (None, cell.cell_type)
    ]


def prose(path):
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def statements(cell):
    """Return the number of logical lines: a wrapped statement counts once."""
    tokens = tokenize.generate_tokens(io.StringIO(cell.source + "\n").readline)
    return sum(token.type == tokenize.NEWLINE for token in tokens)


@pytest.fixture
def short():
    """Return the environment of a short run: one thread, the default text, no network."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GLUONLM_")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    return {**kept, **nowhere, "OMP_NUM_THREADS": "1", "GLUONLM_TUTORIAL": "short"}


def test_the_course_is_complete():
    assert [path.stem for path in LESSONS] == COURSE
    assert [path.stem for path in SOLUTIONS] == COURSE


@pytest.mark.long
@every_notebook
def test_it_runs(path, short):
    notebook = execute(path, short)  # raises if an assertion fails or a cell writes to stderr
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in cells(path)]
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@every_notebook
def test_the_committed_outputs_are_complete_and_normalised(path):
    notebook, text = nbformat.read(path, as_version=4), path.read_text(encoding="utf-8")
    assert nbformat.writes(normalise(notebook)) + "\n" == text, (
        "rewrite it with tutorials/execute.py --write"
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            if "image/png" in output.get("data", {}):
                alt = output.metadata["image/png"]["alt"]
                assert 40 <= len(alt) <= 160, alt
                assert alt.endswith("."), alt
            shown = [
                output.get("text", ""),
                *(
                    value
                    for kind, value in output.get("data", {}).items()
                    if not kind.startswith("image/")
                ),
            ]
            assert not re.search(MACHINE_SPECIFIC, "".join(shown)), "".join(shown)


@every_notebook
def test_no_cell_hides_setup(path):
    for cell in cells(path, "code"):
        assert not re.search(r"^\s*[%!]|get_ipython|filterwarnings|sys\.path", cell.source, re.M), (
            cell.source
        )
    assert cells(path, "code")[0].source.startswith("import gluonlm")


@every_lesson
def test_a_lesson_has_the_form_of_the_course(path):
    code, text = cells(path, "code"), prose(path)
    assert 15 <= len(cells(path)) <= 40
    assert statistics.median(statements(cell) for cell in code) <= 6
    assert max(len(line) for cell in cells(path) for line in cell.source.splitlines()) <= 100
    assert max(len(cell.source.splitlines()) for cell in code) <= 25
    assert len(text.split()) >= sum(len(cell.source.split()) for cell in code)
    assert text.startswith(f"# {int(path.name[:2])}. ")
    parts = ["**You will be able to:**", "**Before you start:**", "## Summary", "## Questions"]
    parts += ["## Exercises", "## Next"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    questions, exercises = text[places[3] : places[4]], text[places[4] : places[5]]
    asked = re.findall(
        r"<details><summary>([1-9])\. (?:(?!</summary>).)*\?</summary>", questions, re.S
    )
    assert asked == list("12345")
    assert 3 <= len(re.findall(r"^[1-9]\. ", exercises, re.M)) <= 4
    figures = [
        output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert len(figures) >= 2


def minutes_to_read(path):
    """Return the reading time by the rule in teaching.md: words at 200, lines at ten a minute."""
    text = prose(path).partition("## References")[0]
    text = re.sub(r"^\[(←|All lessons).*$", "", text, flags=re.M)
    words = len(re.sub(r"\]\([^)]*\)", "]", text).split())
    return words / 200 + sum(len(cell.source.splitlines()) for cell in cells(path, "code")) / 10


@every_lesson
def test_the_guide_repeats_what_a_lesson_requires(path):
    start = re.search(r"\*\*Before you start:\*\*(.*?)\n\n", prose(path) + "\n\n", re.S)[1]
    stated = re.search(
        r"Difficulty: (\d) of 3\. Reading: (\d+) minutes\. Running: (.+)\.$",
        " ".join(start.split()),
    )
    builds_on = ", ".join(re.findall(r"\[(\d+)\]\(", start)) or "-"
    guide = (TUTORIALS / "teaching.md").read_text(encoding="utf-8")
    row = re.search(rf"\({re.escape(path.name)}\) \|(.*)\|", guide)[1].split(" | ")
    assert [cell.strip() for cell in row[:4]] == [builds_on, *stated.groups()]
    readme = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert f"({path.name}), {stated[2]} minutes\n" in readme
    assert abs(minutes_to_read(path) - int(stated[2])) < 4


def test_the_map_draws_what_each_lesson_builds_on():
    guide = (TUTORIALS / "teaching.md").read_text(encoding="utf-8")
    needs = {}  # of each lesson, all lessons before it
    drawn = set()
    for lesson, numbers in re.findall(r"^\| \[(\d+)\. .*?\) \| (-|[\d, ]+) \|", guide, re.M):
        direct = set(re.findall(r"\d+", numbers))
        implied = set().union(*(needs[number] for number in direct))
        needs[lesson] = direct | implied
        drawn |= {(number, lesson) for number in direct - implied}
    assert list(needs) == [str(number) for number in range(len(COURSE))]

    svg = (IMAGES / "map.svg").read_text(encoding="utf-8")
    boxes = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx.*\n<text.*?>(\d+) ', svg
    )

    def box_at(x, y):
        (number,) = (
            number
            for *box, number in boxes
            for left, top, width, height in [map(int, box)]
            if left <= x <= left + width and top <= y <= top + height
        )
        return number

    arrows = set()
    for x, y, turns in re.findall(r'<path d="M(\d+) (\d+)([HV\d]+)" fill="none"', svg):
        end = {"H": int(x), "V": int(y)}
        end.update({axis: int(place) for axis, place in re.findall(r"([HV])(\d+)", turns)})
        arrows.add((box_at(int(x), int(y)), box_at(end["H"], end["V"])))
    assert arrows == drawn


@every_lesson
def test_its_exercises_are_solved(path):
    assert path.name in [solution.name for solution in SOLUTIONS]


@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_each_solution_has_a_numbered_title(path):
    text = prose(path)
    title = cells(TUTORIALS / path.name)[0].source.splitlines()[0]
    assert text.startswith(f"{title}: solutions\n")
    exercises = prose(TUTORIALS / path.name).partition("## Exercises")[2].partition("\n## ")[0]
    numbers = re.findall(r"^## ([1-9])\. \w", text, re.M)
    assert sorted(numbers) == re.findall(r"^([1-9])\. ", exercises, re.M)


@every_notebook
def test_its_links_exist(path):
    expected = {TUTORIALS / f"{stem}.ipynb" for stem in COURSE} | {
        TUTORIALS / "solutions" / f"{stem}.ipynb" for stem in COURSE
    }
    for link in re.findall(r"\]\(([^)#]+)\)", prose(path)):
        if not link.startswith("https://"):
            target = (path.parent / link).resolve()
            assert target.exists() or target in expected, link


@every_lesson
def test_the_table_of_contents_lists_it(path):
    contents = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert f"({path.name})" in contents
    assert f"images/{path.name[:2]}.png" in contents
    assert (IMAGES / f"{path.name[:2]}.png").stat().st_size < 60_000


def test_the_contents_of_the_book_list_every_page_and_the_readme_links_it():
    contents = (TUTORIALS / "_toc.yml").read_text(encoding="utf-8")
    readme = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"- file: (\S+)", contents)
    pages = {path.stem for path in TUTORIALS.glob("*.md")} - {"README"}
    solutions = [f"solutions/{stem}" for stem in COURSE]
    assert sorted(listed) == sorted([*COURSE, *solutions, *pages])
    assert all(f"({page}.md)" in readme for page in pages)
    assert all(f"- [ ] [{int(path.name[:2])}. " in readme for path in LESSONS)


def test_each_term_of_the_glossary_occurs_where_its_links_lead():
    text = (TUTORIALS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^- \*\*(.+?)\*\*((?:[^:]|:(?=//))*):", text, re.M)
    names = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term, _ in entries]
    assert len(names) > 100 and names == sorted(set(names))
    for term, links in entries:
        for link in re.findall(r"\]\(([^)]+)\)", links):
            path = TUTORIALS / link
            page = prose(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
            words = re.sub(r"\s+", " ", page.replace("*", "")).lower()
            assert term.strip("`").lower() in words, (term, link)


def notebook_of(tmp_path, *sources, name="made"):
    """Write a notebook of code cells and return its path."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def run_notebooks(*arguments):
    command = [sys.executable, str(TUTORIALS / "execute.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_two_notebooks_run_at_the_same_time_and_report_in_order(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # each end of a pipe waits until the other is opened
    first = notebook_of(tmp_path, f"open({str(pipe)!r}).read()", name="first")
    second = notebook_of(tmp_path, f"open({str(pipe)!r}, 'w').close()", name="second")
    ended = run_notebooks("--jobs", 2, first, second)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[-1] for line in ended.stdout.splitlines()] == [
        "first.ipynb",
        "second.ipynb",
        "total",
    ]


@pytest.mark.parametrize(
    "flags, code, words",
    [
        (["--jobs", 2, "{fails}", "{works}"], 1, "fails.ipynb, cell 1"),
        (["--jobs", 0, "{works}"], 2, "--jobs 0"),
        (["--jobs", 2, "--write", "{works}", "{works}"], 2, "--write"),
        (["none.ipynb"], 2, "none.ipynb"),
        ([__file__], 1, "not a notebook"),
    ],
)
def test_a_failing_notebook_or_a_bad_flag_is_reported(tmp_path, flags, code, words):
    made = {
        "works": notebook_of(tmp_path, "1", name="works"),
        "fails": notebook_of(tmp_path, "1 / 0", name="fails"),
    }
    ended = run_notebooks(*(str(flag).format(**made) for flag in flags))
    assert ended.returncode == code
    assert words in ended.stderr and 'execute.py", line' not in ended.stderr


def test_a_run_uses_this_python_and_this_checkout_in_an_empty_folder(tmp_path):
    code = (
        "import sys, os, gluonlm; print(sys.executable, gluonlm.__file__, os.listdir(), sep='\\n')"
    )
    shown = execute(notebook_of(tmp_path, code)).cells[0].outputs[0].text.splitlines()
    assert [os.path.realpath(path) for path in shown[:2]] == [
        os.path.realpath(p) for p in (sys.executable, ROOT / "gluonlm/__init__.py")
    ]
    assert shown[2] == "[]"


@pytest.mark.parametrize(
    "code, words",
    [
        ("1 / 0", "cell 2: .*ZeroDivisionError"),
        ("import warnings; warnings.warn('mind')", "cell 2: .*stderr.*mind"),
        ("import os; os._exit(1)", "cell 2: .*died"),
        ("open('left.txt', 'w').close()", "leaves left.txt"),
    ],
)
def test_a_notebook_that_fails_warns_or_leaves_files_is_rejected(tmp_path, code, words):
    with pytest.raises(TutorialError, match=f"(?s)made.ipynb.*{words}"):
        execute(notebook_of(tmp_path, "1", code))


def test_two_runs_produce_the_same_bytes(tmp_path):
    path = notebook_of(
        tmp_path,
        "print('a', end=''); print('b')",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    )
    assert nbformat.writes(execute(path)) == nbformat.writes(execute(path))


def test_the_cover_is_the_tagged_picture_or_else_the_first(tmp_path):
    path = notebook_of(
        tmp_path,
        *(
            f"import matplotlib.pyplot as plt\nplt.figure(figsize=({side}, 3))\nplt.plot([1, 2]);"
            for side in (3, 6, 9)
        ),
    )
    notebook = execute(path)

    def width(png):
        return int.from_bytes(png[16:20], "big")

    assert width(cover(notebook)) < 350
    notebook.cells[2].metadata["tags"] = ["cover"]
    assert width(cover(notebook)) > 600
    assert width(shrink(cover(notebook))) == 480
    assert cover(nbformat.v4.new_notebook()) is None


def test_slides_have_one_page_per_lesson_and_figure_and_need_no_other_file(tmp_path):
    page = tmp_path / "slides.html"
    path = LESSONS[2]
    command = [sys.executable, str(TUTORIALS / "slides.py"), str(page), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    text = page.read_text(encoding="utf-8")
    outputs = [output for cell in cells(path, "code") for output in cell.outputs]
    alts = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    assert text.count("<section>") == 1 + len(alts)
    assert all(html.escape(alt) in text for alt in alts)
    assert text.count('src="data:image/png;base64,') == text.count("src=") == len(alts)


@pytest.mark.parametrize(
    "browser, flags, words",
    [
        (False, [], "chromium"),
        (True, [], "README.html"),
        (True, ["--jobs", "0"], "--jobs 0"),
        (True, ["none/a.pdf"], "none/a.pdf"),
    ],
    ids=["no browser", "no page", "no jobs", "no folder"],
)
def test_the_pdf_needs_a_browser_and_all_pages(tmp_path, browser, flags, words):
    if browser:
        (tmp_path / "chromium").write_text("#!/bin/sh\n")
        (tmp_path / "chromium").chmod(0o755)
    flags = flags if "none/a.pdf" in flags else [str(tmp_path / "a.pdf"), *flags]
    command = [sys.executable, str(TUTORIALS / "pdf.py"), str(tmp_path), *flags]
    ended = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert ended.returncode == 2
    assert words in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "a.pdf").exists()


def test_the_pdf_has_the_pages_in_order():
    pages = pdf.contents()
    assert pages[0] == "README"
    lessons_of_it = [page for page in pages if page in COURSE]
    assert lessons_of_it == COURSE
    assert all(pages[pages.index(stem) + 1] == f"solutions/{stem}" for stem in COURSE)


def test_the_training_lesson_prints_the_lines_that_lesson_2_previews():
    first, training = (
        nbformat.read(next(TUTORIALS.glob(f"*-{name}.ipynb")), as_version=4)
        for name in ("text-to-numbers", "training")
    )
    preview = re.findall(r"^    (.+)$", first.cells[0].source, re.M)
    # repr escapes apostrophes and backslashes
    printed = "".join(o.get("text", "") for c in training.cells for o in c.get("outputs", []))
    assert len(preview) == 3
    for line in preview:
        assert line in printed.replace("\\'", "'").replace("\\\\", "\\")
