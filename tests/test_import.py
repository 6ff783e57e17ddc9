"""Old weights are imported safely, and the networks compute the same as before."""

import json
import struct
import tracemalloc

import mxnet as mx
import numpy as np
import pytest
from conftest import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import gluon
from networks_of_each_kind import VOCAB, checkpoint_of
from safetensors.numpy import save

from gluonlm.convert.params import read_arrays
from gluonlm.convert.recognise import recognise
from gluonlm.convert.torch import state_dict
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab

TOKENS = len(VOCAB)


class RNNModel(gluon.Block):
    """The model of Gluon's word_language_model tutorial."""

    def __init__(self, mode, embed, hidden, layers, tied, **kwargs):
        super().__init__(**kwargs)
        kind = {"lstm": gluon.rnn.LSTM, "gru": gluon.rnn.GRU, "rnn": gluon.rnn.RNN}[mode]
        with self.name_scope():
            self.encoder = gluon.nn.Embedding(TOKENS, embed)
            self.rnn = kind(hidden, layers, input_size=embed)
            shared = {"params": self.encoder.params} if tied else {}
            self.decoder = gluon.nn.Dense(TOKENS, in_units=hidden, flatten=False, **shared)

    def forward(self, ids, state):
        output, state = self.rnn(self.encoder(ids), state)
        return self.decoder(output), state

    def begin_state(self, batch_size, func):
        return self.rnn.begin_state(batch_size=batch_size, func=func)


def tutorial(mode="gru", tied=False, layers=2):
    return RNNModel(mode, 6 if tied else 5, 6, layers, tied)


def gluonnlp_model(name, *args, **kwargs):
    return getattr(pytest.importorskip("gluonnlp").model.language_model, name)(*args, **kwargs)


def awd():
    drops = dict(dropout=0.1, weight_drop=0.2, drop_h=0.1, drop_i=0.1, drop_e=0.1)
    return gluonnlp_model("AWDRNN", "lstm", TOKENS, 6, 9, 3, tie_weights=True, **drops)


OLD = {
    "tutorial gru": tutorial,
    "tutorial lstm tied": lambda: tutorial("lstm", True),
    "tutorial rnn": lambda: tutorial("rnn"),
    "twelve layers": lambda: tutorial("gru", layers=12),
    "standard lstm": lambda: gluonnlp_model(
        "StandardRNN", "lstm", TOKENS, 5, 7, 2, 0.1, tie_weights=False
    ),
    "standard gru tied": lambda: gluonnlp_model(
        "StandardRNN", "gru", TOKENS, 6, 6, 1, 0.1, tie_weights=True
    ),
    "awd lstm": awd,
}


def ready(model, init="uniform"):
    """Set a model's weights; some GluonNLP models infer shapes in a first pass."""
    model.initialize(init)
    model(mx.nd.zeros((1, 1)), model.begin_state(batch_size=1, func=mx.nd.zeros))


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(VOCAB.tokens))
    return path


@pytest.mark.parametrize("form", ["save_parameters", "collect_params", "stripped"])
@pytest.mark.parametrize("kind", OLD)
def test_an_imported_network_computes_the_same(kind, form, tmp_path, vocab_file, command):
    mx.random.seed(5)
    old = OLD[kind]()
    ready(old, mx.init.Uniform(0.5))
    path = tmp_path / "old.params"
    if form == "save_parameters" and kind == "twelve layers":
        pytest.skip("MXNet itself cannot save more than ten layers by this name")
    if form == "save_parameters":
        old.save_parameters(str(path))
    else:
        prefix = old.prefix if form == "stripped" else ""
        old.collect_params().save(str(path), strip_prefix=prefix)
    flags = ["--vocab", vocab_file, "--run", tmp_path / "run", "--activation", "relu"]
    code, out, err = command("import", path, *flags)
    assert (code, err) == (0, "")
    assert "--init-from" in out
    model, checkpoint = load_model(tmp_path / "run")
    assert checkpoint.vocab == VOCAB
    ids = np.random.default_rng(1).integers(0, TOKENS, (20, 2)).astype(np.int32)
    state, before = model.begin_state(2), old.begin_state(batch_size=2, func=mx.nd.zeros)
    for part in (ids[:7], ids[7:]):
        logits, state = model(mx.nd.array(part, dtype="int32"), state)
        expected, before = old(mx.nd.array(part), before)
        wanted = expected.asnumpy().reshape(-1, TOKENS)
        assert np.abs(logits.asnumpy() - wanted).max() < 1e-5


@pytest.mark.parametrize("kind", ["rnn tanh", "lstm", "gru", "tied"])
def test_pytorch_state_dicts_round_trip(kind, tmp_path, vocab_file, command):
    """Also with the names of word_language_model: one rnn module, an encoder and a decoder."""
    model, checkpoint = checkpoint_of(kind)
    (tmp_path / "ours.safetensors").write_bytes(state_dict(checkpoint))
    theirs = {}
    for name, array in read_arrays(tmp_path / "ours.safetensors").items():
        name = name.replace("embedding.", "encoder.")
        if name.startswith("layers."):
            _, number, part = name.split(".")
            name = f"rnn.{part[:-1]}{number}"
        theirs[name] = array
    (tmp_path / "theirs.safetensors").write_bytes(save(theirs))
    for name in ("ours", "theirs"):
        flags = ["--vocab", vocab_file, "--run", tmp_path / name]
        assert command("import", tmp_path / f"{name}.safetensors", *flags)[::2] == (0, "")
        found = Run(tmp_path / name).load("best").parameters
        assert found.keys() == checkpoint.parameters.keys()
        for part, array in checkpoint.parameters.items():
            np.testing.assert_array_equal(found[part], array)


def test_an_imported_run_generates_scores_and_trains(tmp_path, vocab_file, text_file, command):
    old = tutorial("lstm", True)
    old.initialize()
    old.save_parameters(str(tmp_path / "old.params"))
    run = tmp_path / "run"
    flags = ["--vocab", vocab_file, "--run", run]
    assert command("import", tmp_path / "old.params", *flags)[0] == 0
    assert command("generate", run, "--prompt", "the ", "--length", 5)[::2] == (0, "")
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 40)
    code, out, err = command("evaluate", run, "--data", text, "--json")
    assert (code, err) == (0, "")
    before = json.loads(out)["nats"]
    more = ["--init-from", run, "--data", text, "--run", tmp_path / "more", "--max-steps", 30]
    more += ["--batch-size", 4, "--seq-len", 10, "--lr", 0.05, "--quiet"]
    assert command("train", *more)[::2] == (0, "")
    out = command("evaluate", tmp_path / "more", "--data", text, "--json")[1]
    assert json.loads(out)["nats"] < before - 0.2
    for wrong in (["train", "--resume", run, "--data", text, "--quiet"], ["evaluate", run]):
        assert_refused(command(*wrong))
    assert_refused(
        command("import", tmp_path / "old.params", *flags), f"--run {run}", "--overwrite"
    )
    assert Run(run).load("best").progress["step"] == 0


def test_every_vocabulary_format_is_read(tmp_path, command):
    gluonnlp = pytest.importorskip("gluonnlp")
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\nthe dog\n" * 3)
    vocab = Vocab.build([text.read_text()], "word")
    old = gluonnlp_model("StandardRNN", "lstm", len(vocab), 5, 7, 1, 0.1, tie_weights=False)
    ready(old)
    old.save_parameters(str(tmp_path / "old.params"))
    (tmp_path / "list.json").write_text(json.dumps(vocab.tokens))
    theirs = vocab.to_gluonnlp()
    assert isinstance(theirs, gluonnlp.Vocab)
    (tmp_path / "gluonnlp.json").write_text(theirs.to_json())
    (tmp_path / "ours.json").write_text(json.dumps(vocab.to_dict()))
    ways = [["--vocab", tmp_path / name] for name in ("list.json", "gluonnlp.json", "ours.json")]
    ways.append(["--vocab-text", text, "--level", "word"])
    for number, way in enumerate(ways):
        run = tmp_path / f"run{number}"
        code, _, err = command("import", tmp_path / "old.params", *way, "--run", run)
        assert (code, err) == (0, "")
        assert Run(run).load("best").vocab == vocab


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "--vocab-text"),
        (["--vocab", "tokens.json", "--vocab-text", "x"], "--vocab-text"),
        (["--vocab-text", "x"], "--level"),
        (["--vocab", "missing.json"], "missing.json"),
        (["--vocab", "short.json"], "30 tokens"),
        (["--vocab", "text"], "--vocab text"),
        (["--vocab", "odd.json"], "--vocab odd.json"),
    ],
)
def test_errors_name_missing_flags(flags, message, tmp_path, monkeypatch, vocab_file, command):
    monkeypatch.chdir(tmp_path)
    old = tutorial()
    old.initialize()
    old.save_parameters("old.params")
    (tmp_path / "short.json").write_text('["a", "b", "c"]')
    (tmp_path / "text").write_text("no JSON")
    (tmp_path / "odd.json").write_text('{"a": 1}')
    assert_refused(command("import", "old.params", *flags, "--run", "run"), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(drop="rnn._unfused.0.h2h_bias"), "layer 0 "),
        (dict(drop="decoder.bias"), r"decoder\.weight \(30, 6\)"),
        (dict(drop="encoder.weight", also="decoder.weight"), r"decoder\.bias \(30,\)"),
        (dict(add="strange.weight"), r"strange\.weight \(3, 3\)"),
        (dict(grow="rnn._unfused.1.i2h_weight"), "layer 1 "),
        (dict(grow="decoder.weight"), r"\(30, 7\) .*\(30, 5\)"),
        (dict(only="decoder"), "recurrent"),
    ],
)
def test_errors_name_unsuitable_arrays_and_their_shapes(change, message):
    old = tutorial()
    old.initialize()
    arrays = {n: p.data().asnumpy() for n, p in old._collect_params_with_prefix().items()}
    for name in filter(None, (change.get("drop"), change.get("also"))):
        del arrays[name]
    if "add" in change:
        arrays[change["add"]] = np.zeros((3, 3), np.float32)
    if "grow" in change:
        arrays[change["grow"]] = np.pad(arrays[change["grow"]], ((0, 0), (0, 1)))
    if "only" in change:
        arrays = {n: a for n, a in arrays.items() if change["only"] in n}
    with pytest.raises(InputError, match=message) as refused:
        recognise(arrays, "old.params")
    assert str(refused.value).startswith("old.params: ")


def weights(embed=4, hidden=6, prefix="lstm0_l0_", embedding="embed_", output="decoder_"):
    """Return random arrays of an LSTM by name, for the nine tokens `a` to `i`."""
    shapes = {f"{prefix}i2h_weight": (24, embed), f"{prefix}h2h_weight": (24, hidden)}
    shapes |= {f"{prefix}i2h_bias": (24,), f"{prefix}h2h_bias": (24,)}
    shapes |= {f"{embedding}weight": (9, embed), f"{output}weight": (9, hidden)}
    random = np.random.default_rng(1)
    return {n: random.random(s, np.float32) for n, s in {**shapes, f"{output}bias": (9,)}.items()}


@pytest.mark.parametrize("embed", [4, 6])
@pytest.mark.parametrize(
    "output", ["out.", "fc.", "proj.", "head.", "softmax_", "fullyconnected0_", "a.", "encoder."]
)
@pytest.mark.parametrize("embedding", ["embed.", "wte.", "z."])
def test_shapes_or_the_bias_identify_an_output_of_any_name(embedding, output, embed):
    arrays = weights(embed, embedding=embedding, output=output)
    found = recognise(dict(sorted(arrays.items())), "old.params")
    assert found.vocab_size == 9
    assert found.settings["embed_size"] == embed
    np.testing.assert_array_equal(found.arrays["decoder.weight"], arrays[f"{output}weight"])
    np.testing.assert_array_equal(found.arrays["embedding.weight"], arrays[f"{embedding}weight"])


def renamed(arrays, **names):
    return {names.get(name, name): array for name, array in arrays.items()}


@pytest.mark.parametrize("names", [("embed_weight", "w"), ("w", "out_weight")])
def test_a_name_identifies_the_output_if_its_bias_does_not(names):
    arrays = renamed(weights(6), embed_weight=names[0], decoder_weight=names[1], decoder_bias="b")
    found = recognise(dict(sorted(arrays.items())), "old.params")
    np.testing.assert_array_equal(found.arrays["decoder.weight"], arrays[names[1]])


def test_equal_matrices_of_any_names_are_tied():
    arrays = renamed(weights(6), embed_weight="x", decoder_weight="y", decoder_bias="b")
    arrays["x"] = arrays["y"]
    found = recognise(arrays, "old.params")
    assert found.settings["tie_weights"]
    assert "embedding.weight" not in found.arrays


def test_matrices_of_equal_shape_and_unknown_names_are_refused():
    arrays = renamed(weights(6), embed_weight="x", decoder_weight="y", decoder_bias="b")
    with pytest.raises(InputError, match="x or y"):
        recognise(arrays, "old.params")


@pytest.mark.parametrize(
    "name, other",
    [
        ("lstm0_l0_i2h_bias", "lstm00_l0_i2h_bias"),
        ("lstm0_l0_i2h_bias", "lstm0_l\u0660_i2h_bias"),  # a zero of another script
        ("rnn.bias_ih_l0", "rnn.bias_ih_l00"),
    ],
)
def test_two_names_of_one_array_are_refused(name, other):
    arrays = weights()
    arrays[name] = arrays[other] = arrays.pop("lstm0_l0_i2h_bias")
    with pytest.raises(InputError, match=f"{name} and {other}"):
        recognise(arrays, "old.params")


@pytest.mark.parametrize("digits", ["\u00b2", "9" * 5000])
def test_any_characters_may_occur_in_the_name_of_a_layer(digits):
    assert recognise(weights(prefix=f"lstm{digits}_l0_"), "old.params").vocab_size == 9


def test_layers_whose_order_is_unknown_are_refused():
    second = {name: array for name, array in weights(6, prefix="top_").items() if "2h_" in name}
    with pytest.raises(InputError, match="lstm0_l0_ and top_"):
        recognise({**weights(), **second}, "old.params")


@pytest.mark.parametrize("form", ["save_parameters", "collect_params", "cells", "torch"])
def test_bidirectional_layers_are_refused(form, tmp_path):
    path = tmp_path / "old.params"
    if form == "cells":
        cells = [gluon.rnn.LSTMCell(6, input_size=4) for _ in range(2)]
        old = gluon.rnn.BidirectionalCell(*cells)
    else:
        old = gluon.rnn.LSTM(6, input_size=4, bidirectional=True)
    old.initialize()
    if form == "collect_params":
        old.collect_params().save(str(path))
    else:
        old.save_parameters(str(path))
    arrays = {**read_arrays(path), **weights()}
    if form == "torch":
        names = ["weight_ih_l0", "weight_ih_l0_reverse"]
        arrays = {**weights(), **dict.fromkeys(names, np.zeros((24, 4), np.float32))}
    with pytest.raises(InputError, match="bidirectional"):
        recognise(arrays, "old.params")


@pytest.mark.parametrize("name", ["lstm0_l0_h2r_weight", "_unfused.0.h2r_weight", "weight_hr_l0"])
def test_layers_with_a_projection_are_refused(name):
    with pytest.raises(InputError, match=f"{name} .*projection"):
        recognise({**weights(), name: np.zeros((4, 6), np.float32)}, "old.params")


def test_cells_of_pytorch_are_layers():
    names = {"i2h_weight": "weight_ih", "h2h_weight": "weight_hh"}
    names |= {"i2h_bias": "bias_ih", "h2h_bias": "bias_hh"}
    arrays = weights()
    cells = {f"cell.{new}": arrays.pop(f"lstm0_l0_{old}") for old, new in names.items()}
    found = recognise({**arrays, **cells}, "old.safetensors")
    assert (found.settings["model"], found.settings["hidden_size"]) == ("lstm", (6,))


def whole(tmp_path):
    arrays = {"arg:a": np.arange(6.0).reshape(2, 3), "aux:b": np.ones(4), "c": np.zeros((1, 1, 2))}
    path = tmp_path / "whole.params"
    kinds = dict(zip(arrays, ("float32", "float64", "float16")))
    mx.nd.save(str(path), {n: mx.nd.array(a, dtype=kinds[n]) for n, a in arrays.items()})
    return path, arrays


def test_files_are_read_like_mxnet_does(tmp_path):
    path, arrays = whole(tmp_path)
    found = read_arrays(path)
    assert set(found) == {"a", "b", "c"}
    for name, array in mx.nd.load(str(path)).items():
        read = found[name.split(":")[-1]]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, array.asnumpy())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_in_one_line_without_using_memory(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(whole(folder)[0].read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        forged = data.draw(st.sampled_from([1, 4, 8]))
        value = data.draw(st.integers(0, 256**forged - 1))
        content[place : place + forged] = value.to_bytes(forged, "little")
    content = (
        content[: data.draw(st.integers(0, len(content)))]
        if data.draw(st.booleans())
        else (content)
    )
    path = folder / "damaged.params"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        read_arrays(path)
    except InputError as error:
        assert "\n" not in str(error)
        assert "damaged.params" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("claim", [2**62, 2**40])
def test_a_forged_count_or_shape_does_not_allocate_memory(claim, tmp_path):
    path = tmp_path / "forged.params"
    head = struct.pack("<QQ", 0x112, 0)
    shape = struct.pack("<IiiqqiiiI", 0xF993FAC9, 0, 2, claim, claim, 1, 0, 0, 0)
    for content in (head + struct.pack("<Q", claim), head + struct.pack("<Q", 1) + shape):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"forged\.params"):
            read_arrays(path)


def test_other_files_are_refused(tmp_path):
    whole_numbers = tmp_path / "ids.params"
    mx.nd.save(str(whole_numbers), {"a": mx.nd.array([1, 2], dtype="int32")})
    sparse = tmp_path / "sparse.params"
    mx.nd.save(str(sparse), {"a": mx.nd.ones((2, 2)).tostype("csr")})
    nothing = tmp_path / "nothing.params"
    nothing.write_bytes(b"")
    endless = tmp_path / "endless.params"
    mx.nd.save(str(endless), {"a": mx.nd.array([float("inf")])})
    for path, message in (
        (whole_numbers, "type 4.* byte 56"),
        (sparse, "byte 32"),
        (nothing, "safetensors"),
        (endless, "array a "),
        (tmp_path / "missing", "No such file"),
    ):
        with pytest.raises(InputError, match=f"{path.name}: .*{message}"):
            read_arrays(path)
