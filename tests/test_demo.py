"""The model in the package, for `--demo`."""

import re
import shlex

import pytest
from conftest import ROOT, assert_refused

from gluonlm.config.flags import DEMO
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError


def test_its_files_take_less_than_a_megabyte_and_name_the_licence():
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1e6
    assert len(files) == 10
    page = (DEMO / "README.md").read_text(encoding="utf-8")
    assert "PSF License" in page
    assert "make demo" in page


def test_it_loads_as_a_run_with_weights_of_32_bits():
    model, checkpoint = load_model(DEMO)
    assert model.count_parameters() > 200_000
    assert {array.dtype.name for array in checkpoint.parameters.values()} == {"float32"}
    assert checkpoint.training == {}
    assert set(checkpoint.progress) == {"step", "corpus"}
    assert checkpoint.config.data.data == ("python-docs",)


def test_generate_writes_the_same_text_for_a_seed(command):
    flags = ["--prompt", "The ", "--length", 60, "--temperature", 0.5]
    code, first, err = command("generate", "--demo", *flags)
    assert (code, err) == (0, "")
    assert first.startswith("The ")
    assert len(first) == len("The ") + 60 + 1
    assert command("generate", "--demo", *flags, "--seed", 1)[1] == first
    assert command("generate", DEMO, *flags)[1] == first
    assert command("generate", "--demo", *flags, "--seed", 2)[1] != first


def test_the_readme_shows_its_output(command):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ gluonlm generate (--demo.*)\n((?:.*\n)*?)(?=\$|```)", page)
    code, out, err = command("generate", *shlex.split(shown[1]))
    assert (code, err) == (0, "")
    assert out == shown[2]


@pytest.mark.parametrize("name", ["generate", "evaluate"])
def test_it_replaces_the_run(name, trained, command):
    assert_refused(command(name), "--demo")
    assert_refused(command(name, trained, "--demo"), "--demo")


def test_a_damaged_copy_is_rejected(tmp_path):
    (checkpoint,) = DEMO.glob("checkpoints/0*")
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    load_model(tmp_path)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="SHA-256"):
        load_model(tmp_path)
