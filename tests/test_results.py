"""The figures on the pages of results match the runs, and the tables match the pages."""

import importlib.util
import json
import math
import re
import shutil
import sys

import pytest
from conftest import ROOT, TINY

from gluonlm.config import presets
from gluonlm.config.presets import PRESETS


def benchmark(name):
    """Return a script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "benchmarks"))  # as for a script in that folder
results, compare_models = benchmark("results"), benchmark("compare_models")
overview = results.overview

FOLDER = ROOT / "docs" / "results"
PAGES = overview.read_pages(FOLDER)
PAGE = """# Results
before
<!-- run mine of stacked-char-lstm -->
(to be filled from the run)
<!-- end -->
between
<!-- run other of ptb-lstm -->
(to be filled from the run)
<!-- end -->
after
"""


def test_every_preset_has_a_page_with_its_run():
    assert {page.removesuffix(".md") for page in PAGES} == {"README", "ptb-readings", *PRESETS}
    for name in PRESETS:
        page = PAGES[f"{name}.md"]
        assert page.startswith(f"# {name}\n")
        assert name in [place[2].split()[0] for place in results.PLACE.findall(page)], name
        assert {place[3] for place in results.PLACE.findall(page)} == {name}


def test_every_run_has_a_heading_of_its_name():
    for content in PAGES.values():
        names = [place[2].split()[0] for place in results.PLACE.findall(content)]
        assert set(names) <= set(re.findall(r"^#+ (.+)$", content, re.M))


@pytest.fixture
def page(trained, tmp_path):
    """A page with two placeholders, and one of their runs."""
    path = tmp_path / "docs" / "results" / "page.md"
    path.parent.mkdir(parents=True)
    path.write_text(PAGE)
    shutil.copytree(trained, tmp_path / "runs" / "mine")
    return path


def test_a_placeholder_is_filled_repeatedly_and_others_are_unchanged(page, tmp_path):
    assert results.update(page, tmp_path / "runs") == ["mine"]
    text, curve = page.read_text(), (tmp_path / "docs" / "curves" / "mine.png").read_bytes()
    lines = list(
        map(json.loads, (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines())
    )
    assert f"**{lines[-1]['loss'] / 0.6931471805599453:.3f} ({lines[-1]['loss']:.4f})**" in text
    assert "test, as one stream" in text
    for record in lines:
        if record["event"] == "validation":
            assert f"| {record['epoch']:.2f} |" in text
            assert f"({record['valid_loss']:.4f}) |" in text
    assert f"| {lines[-1]['parameters']:,} |" in text
    assert "ended by steps" in text
    assert curve.startswith(b"\x89PNG")
    assert text.split("<!-- end -->\n")[1:] == PAGE.split("<!-- end -->\n")[1:]
    assert text.startswith("# Results\nbefore\n<!-- run mine")
    results.update(page, tmp_path / "runs")
    assert page.read_text() == text


def test_the_command_on_the_page_reproduces_the_run(page, tmp_path, command):
    results.update(page, tmp_path / "runs")
    shown = re.search(r"    python -m gluonlm\.train (.*?)\n\n", page.read_text(), re.DOTALL)[1]
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert "\\\n" in shown
    words = shown.replace("\\\n", " ").split()
    words[words.index("--run") + 1] = tmp_path / "again"
    assert command("train", *words, TINY[-1])[0] == 0
    again, mine = (
        json.loads((path / "config.json").read_text())
        for path in (tmp_path / "again", tmp_path / "runs" / "mine")
    )
    assert again == mine


def test_an_old_run_is_shown_without_settings_added_later(page, tmp_path):
    config = tmp_path / "runs" / "mine" / "config.json"
    kept = json.loads(config.read_text())
    assert kept.pop("output_bias") == "zero"  # the old default
    config.write_text(json.dumps(kept))
    results.update(page, tmp_path / "runs")
    assert "--output-bias" not in page.read_text()


def test_an_unfinished_run_is_not_shown(page, tmp_path):
    metrics = tmp_path / "runs" / "mine" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    assert results.update(page, tmp_path / "runs") == []
    assert page.read_text() == PAGE


def test_a_table_has_a_column_per_run_once_all_have_finished(page, tmp_path):
    page.write_text("<!-- table mine twin -->\nto come\n<!-- end -->\n")
    results.update(page, tmp_path / "runs")
    assert "to come" in page.read_text()
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "twin")
    results.update(page, tmp_path / "runs")
    rows = [
        [field.strip() for field in line.strip("|").split("|")]
        for line in page.read_text().splitlines()[1:-1]
    ]
    assert rows[0] == ["", "`mine`", "`twin`"]
    assert rows[1] == ["---"] * 3
    assert {row[0] for row in rows} >= {"time", "seed", "best validation", "test, as one stream"}
    assert all(len(row) == 3 and row[1] == row[2] for row in rows[1:])


def test_a_line_lists_differences_from_the_first_run_and_losses(page, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(runs / "mine", runs / "twin")
    config = runs / "twin" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "seed": 7, "dropout": 0.25}))
    page.write_text("<!-- changes mine twin -->\nto come\n<!-- end -->\n")
    results.update(page, runs)
    _, head, _, first, second, _ = page.read_text().splitlines()
    assert head.startswith("| changed | training, bits per character (nats) | best validation |")
    assert first.startswith("| nothing: `mine` | ")
    assert second.startswith("| `--dropout 0.25`, `--seed 7` | ")
    assert first.split("|")[2:] == second.split("|")[2:]
    lines = map(json.loads, (runs / "mine" / "metrics.jsonl").read_text().splitlines())
    validations = [line for line in lines if line["event"] == "validation"]
    best = min(validations, key=lambda line: line["valid_loss"])
    assert [f"({best[part]:.4f})" in first for part in ("train_loss", "valid_loss")] == [True] * 2


def test_a_fine_tuned_run_shows_both_commands_and_the_total_time(page, tmp_path):
    runs, place = (
        tmp_path / "runs",
        "<!-- run mine of stacked-char-lstm after twin of ptb-small -->",
    )
    page.write_text(f"{place}\nto come\n<!-- end -->\n")
    assert results.update(page, runs) == []
    assert "to come" in page.read_text()
    shutil.copytree(runs / "mine", runs / "twin")
    for name, seconds in (("mine", 100), ("twin", 2000)):
        metrics = runs / name / "metrics.jsonl"
        *lines, last = metrics.read_text().splitlines()
        last = json.dumps({**json.loads(last), "seconds": seconds})
        metrics.write_text("\n".join([*lines, last]))
    assert results.update(page, runs) == ["mine"]
    assert "--extend-vocab" not in page.read_text()  # both have the same text
    config = runs / "twin" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "data": ["other.txt"]}))
    assert results.update(page, runs) == ["mine"]
    text = page.read_text()
    first, second = joined_lines(text).split("python -m gluonlm.train ")[1:]
    assert first.startswith("--preset ptb-small ")
    assert "--run runs/twin" in first
    assert second.startswith("--preset stacked-char-lstm ")
    assert "--run runs/mine |" in second
    assert " --init-from runs/twin --extend-vocab " in second
    assert "--init-from" not in first
    assert "| time | 2,100 s, of it 2,000 s for `twin` |" in text
    (figure,) = overview.figures({"page.md": text})
    assert (figure.name, figure.page, figure.minutes) == ("mine", "page.md", 35)


def joined_lines(text):
    return " ".join(re.sub(r"\\\n", " ", text).split())


JOINED = "<!-- run both of stacked-char-lstm from mine twin -->\nto come\n<!-- end -->\n"


def test_a_combined_run_shows_all_commands_and_both_scores(page, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(runs / "mine", runs / "twin")
    config = runs / "twin" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "seed": 7}))
    page.write_text(JOINED)
    assert results.update(page, runs) == []
    assert page.read_text() == JOINED
    scores = {
        "nats": 1.5,
        "dynamic": {"nats": 1.25, "rule": "rms", "lr": 0.001, "decay": 0.01, "seq_len": 20},
        "dynamic_cache": {"nats": 1.2, "size": 500, "theta": 0.3, "weight": 0.1},
    }
    (runs / "both.json").write_text(json.dumps(scores))
    assert results.update(page, runs) == ["both"]
    text = page.read_text()
    commands = joined_lines(text)
    for part in (
        "--seed 7",
        "--run runs/mine",
        "--run runs/twin",
        "gluonlm.run.combine runs/mine runs/twin --run runs/both",
        "gluonlm.evaluate runs/both --part test --dynamic rms --dynamic-lr 0.001 "
        "--dynamic-decay 0.01 --dynamic-seq-len 20 --cache 500 --cache-theta 0.3 "
        "--cache-weight 0.1",
    ):
        assert part in commands, part
    result = json.loads((runs / "mine" / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| parameters | {2 * result['parameters']:,} |" in text
    assert "| seed | 1, 7 |" in text
    assert "| test, as one stream | **2.164 (1.5000)** |" in text
    assert "| test, with dynamic evaluation | 1.803 (1.2500) |" in text
    assert "| test, with a cache too | 1.731 (1.2000) |" in text
    (figure,) = overview.figures({"page.md": text})
    assert (figure.name, figure.networks) == ("both", 2)
    assert figure.score("test, as one stream") == 1.5
    assert figure.score("test, with dynamic evaluation") == 1.25
    assert figure.score("test, cold windows of 128") is None
    del scores["dynamic_cache"]
    (runs / "both.json").write_text(json.dumps(scores))
    assert results.update(page, runs) == ["both"]
    assert "cache" not in page.read_text()
    assert joined_lines(page.read_text()).count("--dynamic-seq-len 20 |") == 1


def test_outputs_of_evaluate_next_to_a_run_are_shown_with_their_commands(page, tmp_path):
    runs = tmp_path / "runs"
    for length, nats in ((128, 1.25), (64, 1.5)):
        scores = dict(nats=nats, part="valid", protocol=f"cold windows of {length}")
        (runs / f"mine.windows-{length}.json").write_text(json.dumps(scores))
    columns = dict(nats=2.0, part="test", protocol="7 columns in segments of 20")
    (runs / "mine.columns.json").write_text(json.dumps(columns))
    (runs / "mine2.windows-64.json").write_text("of another run")
    results.update(page, runs)
    text = page.read_text()
    assert (
        "\n| valid, cold windows of 64 | 2.164 (1.5000) |\n| valid, cold windows of 128 |" in text
    )
    assert "| test, 7 columns in segments of 20 | 2.885 (2.0000) |" in text
    for flags in ("valid --windows 64", "valid --windows 128", "test --streams 7 --seq-len 20"):
        assert f"    python -m gluonlm.evaluate runs/mine --part {flags}\n" in text
    (figure,) = overview.figures({"page.md": text})
    assert figure.score("valid, cold windows of 128") == 1.25


def with_seed(runs, name, seed, loss, level="char"):
    """Copy the run `mine` with another seed and test loss."""
    shutil.copytree(runs / "mine", runs / name)
    config = runs / name / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "seed": seed, "level": level}))
    metrics = runs / name / "metrics.jsonl"
    *lines, last = metrics.read_text().splitlines()
    last = json.dumps({**json.loads(last), "loss": loss, "seconds": 60 * seed})
    metrics.write_text("\n".join([*lines, last]))


def cells_of(text, row):
    """Return the cells of a row of a table."""
    line = re.search(rf"^\| {re.escape(row)} \| (.+) \|$", text, re.M)[1]
    return [cell.strip() for cell in line.split("|")]


def test_runs_with_several_seeds_show_mean_and_deviation(page, tmp_path):
    runs = tmp_path / "runs"
    page.write_text("<!-- seeds a b c of stacked-char-lstm -->\nto come\n<!-- end -->\n")
    for seed, (name, loss) in enumerate((("a", 1.0), ("b", 1.1), ("c", 1.5)), 1):
        assert results.update(page, runs) == []
        assert "to come" in page.read_text()
        with_seed(runs, name, seed, loss)
        scores = dict(nats=loss + 0.1, part="valid", protocol="cold windows of 128")
        (runs / f"{name}.windows.json").write_text(json.dumps(scores))
    assert results.update(page, runs) == ["a"]
    text = page.read_text()
    commands = joined_lines(text)
    assert commands.count("python -m gluonlm.train ") == 1
    assert "gluonlm.evaluate runs/a --part valid --windows 128 # likewise with --seed 2" in commands
    assert "# likewise with --seed 2 --run runs/b # likewise with --seed 3 --run runs/c" in commands
    assert cells_of(text, "")[:3] == ["mean", "standard deviation", "`a`"]
    mean, deviation, *each = cells_of(text, "test, as one stream")
    assert (mean, deviation) == ("**1.731 (1.2000)**", "0.2646")
    assert each == ["**1.443 (1.0000)**", "**1.587 (1.1000)**", "**2.164 (1.5000)**"]
    assert cells_of(text, "valid, cold windows of 128")[:2] == ["**1.876 (1.3000)**", "0.2646"]
    assert cells_of(text, "seed") == ["", "", "1", "2", "3"]
    assert cells_of(text, "time") == ["120 s", "", "60 s", "120 s", "180 s"]
    parameters, *others = cells_of(text, "parameters")
    assert parameters and not any(others)  # equal cells are shown once
    assert "](../curves/a.png)" in text
    assert (tmp_path / "docs" / "curves" / "a.png").exists()
    (figure,) = overview.figures({"page.md": text})
    assert (figure.name, figure.minutes) == ("a", 2)
    assert figure.score("valid, cold windows of 128") == 1.3
    (runs / "b.windows.json").unlink()  # not scored in windows yet
    results.update(page, runs)
    (figure,) = overview.figures({"page.md": page.read_text()})
    assert figure.score("valid, cold windows of 128") is None
    (runs / "b.windows.json").write_text((runs / "a.windows.json").read_text())
    results.update(page, runs)
    text = page.read_text()
    results.update(page, runs)
    assert page.read_text() == text


def test_the_mean_of_several_seeds_is_a_mean_of_perplexities(page, tmp_path):
    runs = tmp_path / "runs"
    page.write_text("<!-- seeds a b of ptb-lstm -->\nto come\n<!-- end -->\n")
    for seed, (name, perplexity) in enumerate((("a", 100), ("b", 110)), 1):
        with_seed(runs, name, seed, math.log(perplexity), "word")
    results.update(page, runs)
    assert cells_of(page.read_text(), "test, as one stream")[:2] == ["**105.00**", "7.07"]


def test_the_table_has_only_runs_with_a_figure_of_the_protocol(page, tmp_path, monkeypatch):
    runs, anchor = tmp_path / "runs", overview.Anchor("theirs", "2 M", 1.4)
    windows = overview.Row("a text", "ours", "a", overview.WINDOWS_128, anchor)
    stream = overview.Row("a text", "ours", "a", overview.TEST, anchor, readme=False)
    monkeypatch.setattr(overview, "ROWS", (windows, stream))
    page.write_text("<!-- seeds a b of stacked-char-lstm -->\nto come\n<!-- end -->\n")
    with_seed(runs, "a", 1, 1.0)
    with_seed(runs, "b", 2, 1.1)
    results.update(page, runs)
    pages = {"page.md": page.read_text()}
    (row,) = overview.best(pages).splitlines()[2:]
    link = "| [a text: ours](results/page.md#a) |"
    assert row.startswith(f"{link} test, as one stream | **1.0500 ± 0.0707** |")
    assert row.endswith("| 90 s, float32 | 1.4 (theirs, 2 M) | yes |")
    assert overview.readme_table(pages).count("\n") == 2
    for name, nats in (("a", 1.5), ("b", 1.6)):
        scores = dict(nats=nats, part="valid", protocol="cold windows of 128")
        (runs / f"{name}.windows.json").write_text(json.dumps(scores))
    results.update(page, runs)
    pages = {"page.md": page.read_text()}
    row = overview.best(pages).splitlines()[2]
    assert "| valid, cold windows of 128 | **1.5500 ± 0.0707** |" in row
    assert row.endswith("| 1.4 (theirs, 2 M) | no |")
    assert row.replace("(results", "(docs/results") in overview.readme_table(pages)


def test_each_page_describes_its_system_like_its_preset():
    for name, preset in PRESETS.items():
        page = " ".join(PAGES[f"{name}.md"].split())
        about = preset.about.rstrip(".")
        assert page.startswith(f"# {name} {about}. Published: {preset.published}. ")
        assert results.describe(PAGES[f"{name}.md"]) == PAGES[f"{name}.md"]


def test_the_tables_are_made_from_the_pages():
    for path, place, text in (
        (ROOT / "docs" / "results.md", overview.BEST, overview.best(PAGES)),
        (FOLDER / "README.md", overview.RUNS, overview.all_runs(PAGES)),
        (ROOT / "README.md", overview.BEST, overview.readme_table(PAGES)),
    ):
        (found,) = place.finditer(path.read_text(encoding="utf-8"))
        assert found[0] == f"{found[1]}{text}{found[2]}"
    (row,) = [row for row in overview.readme_table(PAGES).splitlines() if "81.58" in row]
    assert row.startswith("| [Penn Treebank: LSTM 2 x 300](docs/results/ptb-small.md#ptb-small) |")
    assert "| 4.45 M | 50 min, bfloat16 | 82.7 (Inan et al. 2016, tied, 2.65 M) |" in row


def test_the_page_of_results_fits_a_screen_with_one_table_and_one_picture():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 50
    assert len(re.findall(r"^\|[-|]+\|$", page, re.M)) == 1
    assert page.count("![") == 1
    assert page.count("# ") == 1


def test_a_changed_description_of_a_preset_replaces_the_old_one(monkeypatch):
    page = PAGES["ptb-small.md"]
    changed = presets.Preset("Another description.", "one figure", {})
    monkeypatch.setitem(results.PRESETS, "ptb-small", changed)
    described = results.describe(page)
    start = "# ptb-small\n\nAnother description.\n\nPublished: one figure.\n\n"
    assert described.startswith(start)
    assert page.endswith(described.removeprefix(start))


def test_the_models_page_matches_the_scripts_output():
    whole = compare_models.DOCUMENT.read_text(encoding="utf-8")
    page = whole[: whole.index("\n## ")]
    rows = re.findall(r"^\| `.+$", page, re.MULTILINE)
    assert [row.split("`")[1] for row in rows] == list(compare_models.MODELS)
    assert page == compare_models.page(rows, re.search(r"Python ([\d.]+)", page)[1])


def test_long_runs_are_subsampled():
    records = [dict(epoch=i, valid_loss=abs(i - 50.5)) for i in range(1, 101)]
    even = [7, 14, 21, 28, 35, 42, 49, 50, 56, 63, 70, 77, 84, 91, 98, 100]
    assert [r["epoch"] for r in results.chosen(records)] == even
    assert results.chosen(records[:9]) == records[:9]


def test_the_list_has_every_finished_run_and_its_figure():
    rows = overview.all_runs(PAGES).splitlines()[2:]
    places = [place for page in PAGES.values() for place in overview.PLACE.findall(page)]
    filled = [place for place in places if "| parameters |" in place[7]]
    assert len(rows) == len(filled) > 15
    for _, _, names, _, _, _, _, text, _ in filled:
        (row,) = [row for row in rows if row.startswith(f"| [`{names.split()[0]}`](")]
        figure = re.search(r"as one stream \| \*\*(.*?)\*\* \|", text)[1]
        assert f"| {figure} |" in row


def test_networks_are_counted():
    networks = {figure.name: figure.networks for figure in overview.figures(PAGES)}
    assert networks["ptb-small"] == 1
    assert networks["ptb-ensemble"] == 4
    assert networks["nietzsche-lstm-6x512"] == 6
    assert networks["tinyshakespeare-lstm-12min"] == 2
    assert networks["tinyshakespeare-lstm-long-12"] == 12


def test_the_picture_has_the_runs_of_the_table_with_a_panels_text_and_protocol(monkeypatch):
    drawn, draw_panel = {}, overview.draw_panel

    def record(axes, panel, ours):
        drawn[panel.title] = [each.name for each, _ in ours]
        draw_panel(axes, panel, ours)

    monkeypatch.setattr(overview, "draw_panel", record)
    assert overview.draw(PAGES).startswith(b"\x89PNG")
    assert drawn["tiny Shakespeare 80/10/10, windows of 128"][:2] == [
        "tinyshakespeare-gru-test",
        "tinyshakespeare-lstm-test",
    ]
    assert "tinyshakespeare-gru-test" not in drawn["tiny Shakespeare 90/10, windows of 256"]
    assert drawn["Penn Treebank, test, one stream"].count("ptb-medium") == 1  # without adaptation
