"""Exported models compute the same as the original on every runtime."""

import importlib.util
import json
import sys

import numpy as np
import onnx
import pytest
from conftest import TINY, assert_refused
from networks_of_each_kind import KINDS, VOCAB, checkpoint_of

from gluonlm.config import Config
from gluonlm.convert import onnx as to_onnx
from gluonlm.convert import torch as to_torch
from gluonlm.convert.check import check_written, probe_text
from gluonlm.convert.network import networks_of
from gluonlm.run.checkpoint import Checkpoint
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab


@pytest.fixture(params=KINDS)
def trained_kind(request):
    """A model of each kind, and its checkpoint."""
    return checkpoint_of(request.param)


def zeros(checkpoint, streams=2):
    sizes = [size for network in networks_of(checkpoint) for size in network.sizes()]
    return [np.zeros((1, streams, size), np.float32) for size in sizes]


def test_onnx_agrees_with_the_model_with_a_carried_state(trained_kind):
    model, checkpoint = trained_kind
    content = to_onnx.build(checkpoint)
    run, name = to_onnx.runner(content)
    assert name.startswith("ONNX Runtime ")
    assert check_written(model, probe_text(checkpoint), zeros(checkpoint), run) < 2e-6
    graph = onnx.load_from_string(content)
    assert graph.ir_version == 8
    assert [o.version for o in graph.opset_import] == [17]
    props = {prop.key: prop.value for prop in graph.metadata_props}
    assert Vocab(**json.loads(props["vocabulary"])) == VOCAB
    shared = [c for c in graph.graph.initializer if list(c.dims) == [len(VOCAB), 6]]
    if checkpoint.config.model.tie_weights:
        assert len(shared) == checkpoint.config.model.members  # one matrix for input and output


def test_onnx_runs_in_numpy_without_onnx_runtime(monkeypatch):
    model, checkpoint = checkpoint_of("gru")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    run, name = to_onnx.runner(to_onnx.build(checkpoint))
    assert name == "onnx's NumPy reference"
    assert check_written(model, probe_text(checkpoint), zeros(checkpoint), run) < 2e-6
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"gluonlm\[onnx\]"):
        to_onnx.build(checkpoint)


def test_numpy_runs_the_state_dict_with_pytorchs_names(trained_kind):
    model, checkpoint = trained_kind
    run = to_torch.runner(to_torch.state_dict(checkpoint), networks_of(checkpoint))
    assert check_written(model, probe_text(checkpoint), zeros(checkpoint), run) < 2e-6


def test_the_module_is_short_and_self_contained(trained_kind):
    text = to_torch.module(trained_kind[1], 'x".safetensors')
    compile(text, "module", "exec")
    assert len(text.splitlines()) < 90
    assert "gluonlm." not in text.replace("gluonlm 0", "")
    assert "def load(path='x\".safetensors'):" in text


def test_pytorch_agrees_with_the_model(trained_kind, tmp_path):
    """Runs only if PyTorch is installed."""
    torch = pytest.importorskip("torch")
    model, checkpoint = trained_kind
    (tmp_path / "m.safetensors").write_bytes(to_torch.state_dict(checkpoint))
    (tmp_path / "m.py").write_text(to_torch.module(checkpoint, "m.safetensors"))
    spec = importlib.util.spec_from_file_location("exported", tmp_path / "m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network, vocab = module.load(str(tmp_path / "m.safetensors"))
    assert vocab["tokens"] == VOCAB.tokens

    def run(ids, state):
        with torch.no_grad():
            logits, state = network(torch.from_numpy(ids.astype(np.int64)), state)
        return logits.reshape(-1, len(VOCAB)).numpy(), state

    assert check_written(model, probe_text(checkpoint), None, run) < 2e-6


def test_a_file_with_other_results_is_not_kept(trained, tmp_path, command, monkeypatch):
    from gluonlm.convert import onnx as writer

    monkeypatch.setitem(writer.ORDER, "gru", [0, 1, 2])  # gates in the wrong order
    out = tmp_path / "model.onnx"
    assert_refused(command("export", trained, "--format", "onnx", "--out", out), "1e-05")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(to_torch.NAMES, "i2h_weight", "weight_hh_l0")
    out = tmp_path / "model.safetensors"
    assert_refused(command("export", trained, "--format", "torch", "--out", out))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "form, names", [("onnx", ["a.onnx"]), ("torch", ["a.py", "a.safetensors"])]
)
def test_the_command_writes_complete_files_once(form, names, trained, tmp_path, command):
    out = tmp_path / names[-1]
    code, output, err = command("export", trained, "--format", form, "--out", out)
    assert (code, err) == (0, "")
    assert str(out) in output
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    before = out.read_bytes()
    assert_refused(command("export", trained, "--format", form, "--out", out), out, "--overwrite")
    assert out.read_bytes() == before
    assert command("export", trained, "--format", form, "--out", out, "--overwrite")[0] == 0
    assert_refused(
        command("export", trained, "--format", "torch", "--out", tmp_path / "b.py"), "--out", "b.py"
    )


def test_models_of_foreign_scripts_are_probed_too(text_file):
    checkpoint = Checkpoint(Config(), Vocab("char", "אבג"), {}, {}, {"step": 0})
    ids = probe_text(checkpoint)
    assert ids.shape == (200, 2)
    assert set(ids.ravel()) == {0, 1, 2}


def test_words_and_subwords_are_exported_with_their_tokenizer(text_file, tmp_path, command):
    for level, rule in (("word", "punctuation"), ("subword", "bpe")):
        run = tmp_path / level
        flags = ["--level", level, "--tokenizer", rule, "--run", run, *TINY]
        assert command("train", "--data", text_file, *flags)[0] == 0
        out = tmp_path / f"{level}.onnx"
        assert command("export", run, "--format", "onnx", "--out", out)[::2] == (0, "")
        props = {prop.key: prop.value for prop in onnx.load(out).metadata_props}
        vocab = Vocab(**json.loads(props["vocabulary"]))
        assert vocab.decode(vocab.encode("the 3 ducks, away.")) == "the 3 ducks, away."
