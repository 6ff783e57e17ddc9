"""`export --format hub`: a folder by the conventions of Hugging Face."""

import importlib.util
import json
import random
import re
import runpy

import numpy as np
import pytest
from conftest import TINY, assert_refused
from networks_of_each_kind import KINDS, VOCAB, checkpoint_of

from gluonlm.config import Config
from gluonlm.convert import torch as to_torch
from gluonlm.convert.card import write_card
from gluonlm.convert.check import check_written, probe_text
from gluonlm.convert.hub import describe, model_files
from gluonlm.convert.tokenizer import _same, check_tokenizer, tokenizer_files
from gluonlm.run.checkpoint import Checkpoint
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab

TEXT = (
    "The 3 ducks -- and the geese -- went away.\nSee [the index](a_b) of 1,234 <hills> at 0x41!\n"
    * 40
)
PIECES = [
    *sorted(set(TEXT)),
    *("the ", "ducks", "    ", "---", "_______", "<unk>", " <eos> ", "<0x41>", "\u2581"),
    *("\t", "\r\n", "\r", "\x1c", "\x85", "\xa0", "é", "漢", "🙂", "\0"),
]


def checkpoint_for(level, rule="auto", text=TEXT, **data):
    config = Config.from_dict({"level": level, "tokenizer": rule, **data})
    text = text.lower() if config.data.lower else text
    vocab = Vocab.build([text], level, {"subword": 330}.get(level, 0), rule)
    return Checkpoint(config, vocab, {}, {}, {"step": 0})


def export(command, run, out, *flags):
    return command("export", run, "--format", "hub", "--out", out, *flags)


def test_the_folder_is_complete_or_missing(trained, tmp_path, command, monkeypatch):
    out = tmp_path / "model"
    code, shown, err = export(command, trained, out)
    assert (code, err) == (0, "")
    names = ["README.md", "config.json", "model.safetensors", "modeling.py", "tokenizer.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all(str(out / name) in shown for name in names)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_refused(export(command, trained, out), out, "--overwrite")
    with monkeypatch.context() as patch:
        patch.setitem(to_torch.NAMES, "i2h_weight", "weight_hh_l0")
        assert_refused(export(command, trained, out, "--overwrite"))
        assert_refused(export(command, trained, tmp_path / "other"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "README.md").write_text("edited")
    assert export(command, trained, out, "--overwrite")[::2] == (0, "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_else_is_overwritten(trained, tmp_path, command):
    for name in ("folder", "link", "nested"):
        (tmp_path / name).mkdir() if name != "link" else (tmp_path / name).symlink_to("folder")
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    (tmp_path / "nested" / "README.md").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "link", "nested", "file", "missing/model"):
        assert_refused(export(command, trained, tmp_path / name, "--overwrite"), tmp_path / name)
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link", "nested"]


@pytest.mark.parametrize("licence", ["two words", "a\nb: c", "é"])
def test_a_licence_is_an_identifier_and_only_for_hub(licence, trained, tmp_path, command):
    out = tmp_path / "model"
    assert_refused(export(command, trained, out, "--licence", licence), "--licence")
    flags = ["--format", "torch", "--out", out, "--licence", "mit"]
    assert_refused(command("export", trained, *flags), "--licence")


def test_the_card_contains_figures_data_command_and_licence(trained, tmp_path, command):
    out = tmp_path / "model"
    assert export(command, trained, out, "--licence", "cc-by-4.0")[0] == 0
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    result = records[-1]
    assert f"| test | {result['loss']:.4f} | {np.exp(result['loss']):.2f} |" in card
    assert f"{result['bits']:.4f} bits per character" in card
    (step,) = (r for r in records if r["event"] == "validation" and r["step"] == result["step"])
    assert f"| {step['valid_loss']:.4f} |" in card
    assert "`rhyme.txt`" in card
    assert str(tmp_path.parent) not in card  # folders are private
    (line,) = re.findall(r"^\$ gluonlm train (.*)$", card, re.M)
    for setting in ("embed_size=8", "hidden_size=12", "max_steps=6", "dropout=0.2"):
        assert f"--set {setting}" in line
    assert "--data rhyme.txt" in line


def test_a_card_without_figures_and_with_hostile_names_is_one_page():
    _, checkpoint = checkpoint_of({**KINDS["gru"], "data": ["a`\n# b\n---\n[x](y)"]})
    for records in ([], [{"event": "result", "step": 0, "loss": None, "part": ["test"]}]):
        card = write_card("n\n# m", checkpoint, records, model_files(checkpoint), "compared")
        assert card.startswith("---\nlicense: unknown\n")
        assert re.findall(r"^#+ .*", card, re.M)[0] == "# n # m"
        assert card.count("\n# ") == 1
        assert "gluonlm evaluate" in card


def test_the_settings_describe_the_network():
    _, checkpoint = checkpoint_of("tied ensemble")
    found = describe(checkpoint)
    assert (found["architectures"], found["num_networks"]) == (["Ensemble"], 2)
    assert (found["hidden_sizes"], found["embedding_size"]) == ([6], 6)
    assert (found["vocab_size"], found["tie_word_embeddings"]) == (len(VOCAB), True)
    assert (found["model_type"], found["layer_type"]) == ("gluonlm", "gru")


@pytest.mark.parametrize(
    "checkpoint, names",
    [
        (checkpoint_for("char"), {"tokenizer.json"}),
        (checkpoint_for("word"), {"tokenizer.json"}),
        (checkpoint_for("word", "punctuation"), {"vocab.json"}),
        (checkpoint_for("word", "moses"), {"vocab.json"}),
        (checkpoint_for("subword"), {"tokenizer.json", "tokenizer.model"}),
        (checkpoint_for("char", text="ΟΔΟΣ οδος", lower=True), {"vocab.json"}),
    ],
)
def test_a_tokenizer_that_cannot_be_expressed_becomes_a_list_of_tokens(checkpoint, names):
    files = tokenizer_files(checkpoint)
    assert set(files) == names
    if "vocab.json" in files:
        assert Vocab.from_dict(json.loads(files["vocab.json"])) == checkpoint.vocab


def test_the_sentencepiece_model_has_the_same_ids():
    sentencepiece = pytest.importorskip("sentencepiece")
    checkpoint = checkpoint_for("subword", "bpe")
    content = tokenizer_files(checkpoint)["tokenizer.model"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert processor.encode(TEXT) == checkpoint.encode(TEXT).tolist()


@pytest.mark.parametrize("keep_line_ends", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("level, rule", [("char", "auto"), ("word", "split"),
                                         ("subword", "unigram"), ("subword", "bpe")])  # fmt: skip
def test_tokenizers_finds_the_same_tokens(level, rule, lower, keep_line_ends):
    tokenizers = pytest.importorskip("tokenizers")
    checkpoint = checkpoint_for(level, rule, lower=lower, keep_line_ends=keep_line_ends)
    content = tokenizer_files(checkpoint)["tokenizer.json"]
    assert "verified" in check_tokenizer(content, checkpoint)
    found = tokenizers.Tokenizer.from_str(content.decode())
    choose, vocab = random.Random(1), checkpoint.vocab
    pieces = PIECES
    if level == "char":
        known = {*vocab.tokens, *(() if keep_line_ends else "\r")}
        known |= {token.upper() for token in vocab.tokens if lower}
        pieces = [piece for piece in PIECES if known.issuperset(piece)]
        with pytest.raises(Exception, match="WordLevel"):  # an unknown character
            found.encode("漢")
    for number in range(400):
        words = (choose.choice(pieces) * choose.choice([1, 1, 2, 7]) for _ in range(number % 24))
        text = "\ufeff" * (number % 9 == 0) + "".join(words)
        expected = checkpoint.encode(text).tolist()
        assert _same(expected, found.encode(text).ids, vocab), text
        assert found.decode(expected) == vocab.decode(expected)


def test_another_tokenizer_is_detected():
    pytest.importorskip("tokenizers")
    checkpoint = checkpoint_for("word")
    content = tokenizer_files(checkpoint)["tokenizer.json"].decode()
    ids = json.loads(content)["model"]["vocab"]
    swapped = content.replace(f'"the": {ids["the"]}', f'"the": {ids["of"]}')
    for broken in (swapped, content.replace(" ?<eos> ?", "<eos>"), content.replace(" <eos> ", " ")):
        assert broken != content
        with pytest.raises(InputError):
            check_tokenizer(broken.encode(), checkpoint)


@pytest.mark.parametrize("kind", ["gru", "tied ensemble", "unrolled", "onehot"])
def test_pytorch_and_tokenizers_agree_with_the_model(kind, tmp_path, monkeypatch, capsys):
    """Runs only if PyTorch is installed."""
    torch, tokenizers = pytest.importorskip("torch"), pytest.importorskip("tokenizers")
    safetensors = pytest.importorskip("safetensors.torch")
    model, checkpoint = checkpoint_of(kind)
    for name, content in model_files(checkpoint).items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("modeling", "modeling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network, _ = module.load()
    weights = safetensors.load_file("model.safetensors")
    assert set(weights) <= set(network.state_dict())

    def run(ids, state):
        with torch.no_grad():
            logits, state = network(torch.from_numpy(ids.astype(np.int64)), state)
        return logits.reshape(-1, len(VOCAB)).numpy(), state

    assert check_written(model, probe_text(checkpoint), None, run) < 2e-6
    tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
    text = "the ducks,\nand a goose."
    assert tokenizer.encode(text).ids == checkpoint.encode(text).tolist()
    card = write_card("m", checkpoint, [], model_files(checkpoint), "compared")
    (example,) = re.findall(r"```python\n(.*?)```", card, re.S)
    (tmp_path / "example.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "modeling", raising=False)
    runpy.run_path("example.py")
    assert capsys.readouterr().out.rstrip("\n") in {*VOCAB.tokens, ""}


def test_words_are_exported_by_the_command(text_file, tmp_path, command):
    for level, rule in (("word", "punctuation"), ("subword", "unigram")):
        run, out = tmp_path / level, tmp_path / f"{level}-model"
        flags = ["--level", level, "--tokenizer", rule, "--run", run, *TINY]
        assert command("train", "--data", text_file, *flags)[0] == 0
        assert export(command, run, out)[::2] == (0, "")
        card = (out / "README.md").read_text()
        assert ("vocab.json" in card) == (level == "word")
        assert ("SentencePiece" in card) == (level == "subword")
        _, checkpoint = load_model(run)
        assert f"nats per {checkpoint.vocab.kind.unit}" in card
