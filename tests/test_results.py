"""The figures in docs/results.md match the runs."""

import importlib.util
import json
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


def test_every_preset_has_a_section():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert {place[2] for place in results.PLACE.findall(page)} == set(PRESETS)
    assert re.findall(r"^## (.+)", page, re.MULTILINE) == ["All runs", *PRESETS]


@pytest.fixture
def page(trained, tmp_path):
    """A page with two placeholders, and one of their runs."""
    path = tmp_path / "docs" / "results.md"
    path.parent.mkdir()
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
    text = page.read_text()
    first, second = joined_lines(text).split("python -m gluonlm.train ")[1:]
    assert first.startswith("--preset ptb-small ")
    assert "--run runs/twin" in first
    assert second.startswith("--preset stacked-char-lstm ")
    assert "--run runs/mine |" in second
    assert " --init-from runs/twin --extend-vocab " in second
    assert "--init-from" not in first
    assert "| time | 2,100 s, of it 2,000 s for `twin` |" in text
    (figure,) = overview.figures(text)
    assert (figure.name, figure.minutes) == ("mine", 35)


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
    (figure,) = overview.figures(text)
    assert (figure.name, figure.score) == ("both", 1.5)
    renamed = text.replace("run both of", "run stacked-char-lstm of")
    assert "networks trained separately" in " ".join(results.summary(renamed).split())
    del scores["dynamic_cache"]
    (runs / "both.json").write_text(json.dumps(scores))
    assert results.update(page, runs) == ["both"]
    assert "cache" not in page.read_text()
    assert joined_lines(page.read_text()).count("--dynamic-seq-len 20 |") == 1


def test_the_page_describes_each_system_like_its_preset():
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    for name, preset in PRESETS.items():
        about = preset.about.rstrip(".")
        assert f"## {name} {about}. Published: {preset.published}. " in page


def test_only_text_between_the_preset_markers_changes(page, tmp_path):
    run, text = tmp_path / "runs" / "mine", page.read_text()
    page.write_text(text.replace("mine of", "stacked-char-lstm of"))
    run.rename(run.with_name("stacked-char-lstm"))
    results.update(page, tmp_path / "runs")
    document = tmp_path / "list.md"
    document.write_text("before\n<!-- presets -->\nold\n<!-- end -->\nafter <!-- end -->\n")
    results.update_presets(document, results.summary(page.read_text()))
    shown, published = document.read_text(), PRESETS["stacked-char-lstm"].published
    assert shown.startswith("before\n<!-- presets -->\n- `stacked-char-lstm`: test **")
    assert shown.endswith("\n<!-- end -->\nafter <!-- end -->\n")
    assert f"Published: {published}. <!-- end -->" in " ".join(shown.split())
    assert "old" not in shown
    assert shown.count("\n- `") == 1


def test_the_page_lists_every_preset():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    shown = results.LIST.search(page)[0]
    assert shown == f"<!-- presets -->\n{results.summary(page)}<!-- end -->"
    assert re.findall(r"^- `(.+?)`", shown, re.MULTILINE) == list(PRESETS)
    (figure,) = re.findall(r"^\| test, as one stream \| \*\*(116\.84)\*\* \|$", page, re.MULTILINE)
    assert f"- `ptb-lstm`: test **{figure}** perplexity" in shown
    assert (
        "- `tinyshakespeare-gru`: validation (no test part: settings were chosen on it) **2.217"
        in shown
    )
    assert results.describe(page) == page


def test_the_readmes_table_is_generated_from_the_page():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    shown = results.LIST.search((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert shown == f"<!-- presets -->\n{results.readme_table(page)}<!-- end -->"
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in shown.splitlines()[3:9]]
    assert [row[0].strip("`") for row in rows] == list(results.ANCHORS)
    assert rows[1][1:4] == ["4,454,800", "104 min", "**82.91** perplexity"]
    assert rows[4][2:4] == ["12 min", "**1.4669** nats"]


def test_a_changed_description_of_a_preset_replaces_the_old_one(monkeypatch):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    changed = presets.Preset("Another description.", "one figure", {})
    monkeypatch.setitem(results.PRESETS, "ptb-small", changed)
    described = results.describe(page)
    assert "## ptb-small\n\nAnother description.\n\nPublished: one figure.\n\n" in described
    after = described.partition("Published: one figure.\n\n")[2]
    assert page.endswith(after)
    assert described.partition("## ptb-small")[0] in page


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


def test_the_overview_lists_every_run_and_its_figure():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    shown = overview.OVERVIEW.search(page)[0].splitlines()
    rows = [line for line in shown if line.startswith("| `")]
    assert rows == overview.table(page)[2:]
    filled = [place[1] for place in results.PLACE.findall(page) if "| test, as" in place[3]]
    assert sorted(row.split("`")[1] for row in rows if "| test |" in row) == sorted(filled)
    places = overview.PLACE.findall(page)
    assert len(places) == len(rows) > 0
    for _, name, _, text, _ in places:
        (row,) = [row for row in rows if row.startswith(f"| `{name}` ")]
        figure = re.search(r"as one stream \| \*\*(.*)\*\* \|", text)[1]
        assert f"| {figure} |" in row


def test_runs_are_comparable_on_the_same_text_and_part():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    found = [figure.name for figure in overview.of_text(page, "ptb")]
    assert found == ["ptb-lstm", "ptb-small", "ptb-small-plain", "ptb-medium"]
    parts = [figure.part for figure in overview.of_text(page, "tinyshakespeare")]
    assert set(parts) == {"valid"}
