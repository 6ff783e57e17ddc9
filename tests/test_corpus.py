"""Finding, fetching, verifying, decoding, splitting."""

import functools
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest
from conftest import ROOT

from gluonlm import corpus as corpus_module
from gluonlm.config import DataConfig
from gluonlm.corpus import CATALOGUE, Entry, File, load_corpus
from gluonlm.errors import InputError
from gluonlm.text import read_text


def test_the_embedded_corpus_is_split_contiguously():
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[key] for key in sorted(topics))
    corpus = load_corpus()
    assert corpus.vocab.tokens == sorted(set(text))
    parts = [corpus.train, corpus.valid, corpus.test]
    assert corpus.vocab.decode(np.concatenate(parts)) == text
    assert [round(len(part) / len(text), 3) for part in parts] == [0.9, 0.05, 0.05]
    assert all(part.dtype == np.int32 for part in parts)


def test_own_validation_and_test_files_and_several_texts(tmp_path):
    for name, text in (("1.txt", "aaaa"), ("2.txt", "bbb"), ("v", "cc"), ("t", "d")):
        (tmp_path / name).write_text(text)
    config = DataConfig(
        data=(str(tmp_path / "*.txt"),), valid=str(tmp_path / "v"), test=str(tmp_path / "t")
    )
    corpus = load_corpus(config)
    assert [corpus.vocab.decode(part) for part in (corpus.train, corpus.valid, corpus.test)] == [
        "aaaa\nbbb",
        "cc",
        "d",
    ]
    changed = load_corpus(DataConfig(data=config.data, valid=config.test, test=config.valid))
    assert changed.fingerprint != corpus.fingerprint


def test_word_vocabulary_knows_the_training_part_only(tmp_path):
    for name, text in (("train", "a b\n"), ("valid", "a z\n"), ("test", "b\n")):
        (tmp_path / name).write_text(text)
    corpus = load_corpus(
        DataConfig(
            data=(str(tmp_path / "train"),),
            valid=str(tmp_path / "valid"),
            test=str(tmp_path / "test"),
            level="word",
        )
    )
    assert "z" not in corpus.vocab.tokens
    assert corpus.valid.tolist() == [corpus.vocab.index["a"], 0, corpus.vocab.index["<eos>"]]


def test_words_of_the_other_parts_only_are_unknown(tmp_path):
    path = tmp_path / "text"
    path.write_text(
        "a b a c\n" * 8 + "a d\n" * 4, encoding="utf-8"
    )  # 40 words with <eos> in the first part, 12 after
    corpus = load_corpus(DataConfig(data=(str(path),), level="word", split="75/15/10"))
    assert corpus.vocab.tokens == ["<unk>", "<eos>", "a", "b", "c"]
    assert corpus.vocab.decode(corpus.test) == "<unk>\na <unk>\n"


def test_split_percentages_and_lower_case(tmp_path):
    (tmp_path / "text").write_text("ABCDEFGHIJ")
    corpus = load_corpus(DataConfig(data=(str(tmp_path / "text"),), split="50/30/20", lower=True))
    assert [len(p) for p in (corpus.train, corpus.valid, corpus.test)] == [
        5,
        3,
        2,
    ] and corpus.vocab.tokens[0] == "a"
    for split in ("90/5", "90/5/6", "0/50/50", "a/b/c", "110/-5/-5", "nan/5/5"):
        with pytest.raises(InputError, match="--split"):
            load_corpus(DataConfig(data=(str(tmp_path / "text"),), split=split))


def test_line_ends_survive_and_a_byte_order_mark_does_not(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("\ufeffone\r\ntwo\rthree\n".encode())
    assert read_text(path) == "one\r\ntwo\rthree\n"
    path.write_bytes("\u00e9t\u00e9".encode("utf-16"))
    assert read_text(path, "utf-16") == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    "content, encoding, message",
    [
        (b"caf\xe9 au lait", "utf-8", r"byte 0xe9 at offset 3 is not utf-8.*latin-1"),
        (b"", "utf-8", "is empty"),
        (b"\xef\xbb\xbf", "utf-8", "is empty"),
        (b"a\0b", "utf-8", "binary.*1 is NUL"),
        (b"abc", "klingon", "--encoding 'klingon'"),
        (b"abc", "rot13", "--encoding"),
        (bytes(range(128, 256)), "utf-8", "offset 0"),
    ],
)
def test_what_is_not_text_is_refused_with_a_remedy(tmp_path, content, encoding, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path, encoding)


def test_missing_files_and_unknown_names_are_told(tmp_path):
    with pytest.raises(
        InputError,
        match=r"nosuch: neither a file nor a corpus; the corpora are python-docs, nietzsche",
    ):
        load_corpus(DataConfig(data=("nosuch",)))
    with pytest.raises(InputError, match="cannot read"):
        load_corpus(DataConfig(data=(str(tmp_path),)))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A corpus of one file on a web server of this machine, and an empty data folder.

    Gives (catalogue file, path served).
    """
    source = tmp_path / "served"
    source.mkdir()
    content = b"to be or not to be\n" * 100
    (source / "play.txt").write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=source)
    handler.log_message = None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = File(
        "play.txt",
        f"http://127.0.0.1:{server.server_port}/play.txt",
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(CATALOGUE, "play", Entry("a play", "none", (file,)))
    monkeypatch.setenv("GLUONLM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    yield file, source / "play.txt"
    server.shutdown()
    server.server_close()


def test_a_missing_corpus_is_fetched_verified_and_found_again(served, tmp_path):
    _, source = served
    assert len(load_corpus(DataConfig(data=("play",))).train) == 1710
    assert (tmp_path / "data" / "play.txt").read_bytes() == source.read_bytes()
    source.unlink()
    assert len(load_corpus(DataConfig(data=("play",))).train) == 1710
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["play.txt"]


def test_a_wrong_download_never_reaches_its_place(served, tmp_path):
    served[1].write_bytes(b"to be or not to b3\n" * 100)
    with pytest.raises(InputError, match=r"SHA-256 .* but the published file has 1900"):
        load_corpus(DataConfig(data=("play",)))
    assert not list((tmp_path / "data").iterdir())


def test_another_version_can_be_fetched_if_the_user_insists(served):
    served[1].write_bytes(b"another version\n" * 100)
    assert len(load_corpus(DataConfig(data=("play",), verify=False)).train) == 1440


def test_offline_the_error_names_address_file_and_folder(served, tmp_path):
    served[1].unlink()
    with pytest.raises(InputError) as caught:
        load_corpus(DataConfig(data=("play",)))
    assert served[0].url in str(caught.value) and str(tmp_path / "data" / "play.txt") in str(
        caught.value
    )
    assert "GLUONLM_DATA" in str(caught.value)


def test_a_damaged_corpus_is_refused_unless_told_not_to_verify(served, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "play.txt").write_text("something else\n" * 10)
    with pytest.raises(InputError, match="--no-verify"):
        load_corpus(DataConfig(data=("play",)))
    assert len(load_corpus(DataConfig(data=("play",), verify=False)).train) == 135


def test_wikitext_without_a_network_names_files_and_folder(tmp_path, monkeypatch):
    import gluonnlp

    def offline(**kwargs):
        raise OSError("no network")

    monkeypatch.setattr(gluonnlp.data, "WikiText2", offline)
    with pytest.raises(InputError, match=r"wikitext-2-v1.zip.*wiki.train.tokens.*wikitext-2"):
        load_corpus(DataConfig(data=("wikitext-2",), data_dir=str(tmp_path), level="word"))
    assert not (tmp_path / "wikitext-2").exists()


def test_wikitext_files_that_gluonnlp_fetched_are_three_parts(tmp_path, monkeypatch):
    import gluonnlp

    def fetched(segment, root):
        for part in ("train", "valid", "test"):
            (corpus_module.Path(root) / f"wiki.{part}.tokens").write_text(f" = {part} = \n")

    monkeypatch.setattr(gluonnlp.data, "WikiText2", fetched)
    corpus = load_corpus(DataConfig(data=("wikitext-2",), data_dir=str(tmp_path), level="word"))
    assert corpus.vocab.decode(corpus.test) == "= <unk> =\n"


def test_the_catalogue_is_listed_and_documented(command, monkeypatch, tmp_path):
    monkeypatch.setenv("GLUONLM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("corpus")
    assert code == 0 and len(out.splitlines()) == len(CATALOGUE)
    assert re.search(r"^ptb .*: missing$", out, re.M)
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, entry in CATALOGUE.items():
        assert f"`{name}`" in readme
        for file in entry.files:
            assert (
                file.sha256 in readme
                and file.url in readme
                and (not file.size or f"{file.size:,}" in readme)
            )


@pytest.mark.full
def test_the_real_corpora_are_the_published_ones(corpus_path):
    corpus_path("nietzsche")
    assert len(load_corpus(DataConfig(data=("nietzsche",), encoding="latin-1")).vocab) == 85
    assert len(load_corpus(DataConfig(data=("nietzsche",))).vocab) == 84
    corpus_path("ptb")
    corpus = load_corpus(DataConfig(data=("ptb",), level="word"))
    assert len(corpus.train) == 929_589 and len(corpus.vocab) == 10_000
