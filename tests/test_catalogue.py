"""The named corpora: found, fetched, verified, listed."""

import dataclasses
import functools
import hashlib
import http.server
import re
import tempfile
import threading
from pathlib import Path

import pytest
from conftest import ROOT, assert_refused

from gluonlm.config import DataConfig
from gluonlm.corpus import CATALOGUE, Entry, File, fetch, find, load_corpus
from gluonlm.corpus.catalogue import data_folders
from gluonlm.system.errors import InputError


def test_data_folders_are_searched_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUONLM_DATA", raising=False)
    assert data_folders() == [Path("data")]
    monkeypatch.setenv("GLUONLM_DATA", "shared")
    assert data_folders("mine") == [Path("mine"), Path("shared"), Path("data")]
    file = File("sub/play.txt", "nowhere")
    assert find(file, "mine") is None
    for folder in ("data", "shared", "mine"):
        Path(folder, "sub").mkdir(parents=True)
        Path(folder, "sub", "play.txt").write_text(folder)
        assert find(file, "mine") == Path(folder, "sub", "play.txt")
    assert find(file) == Path("shared/sub/play.txt")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A corpus of one file on a web server of this machine, and an empty data folder.

    Returns (catalogue file, served path).
    """
    source = tmp_path / "served"
    source.mkdir()
    content = b"to be or not to be\n" * 100
    (source / "play.txt").write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=source)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/play.txt"
    file = File("play.txt", url, len(content), hashlib.sha256(content).hexdigest())
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


def test_a_corpus_is_fetched_into_the_first_data_folder(served, tmp_path):
    load_corpus(DataConfig(data=("play",), data_dir="first"))
    assert (tmp_path / "first" / "play.txt").exists()
    assert not (tmp_path / "data").exists()
    for _ in range(2):  # into a new folder, and into an existing one
        assert fetch(served[0], "second/deep") == Path("second/deep/play.txt")


def test_a_download_is_written_next_to_its_target_on_the_same_disk(served, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert fetch(served[0]).read_bytes() == served[1].read_bytes()


def test_a_wrong_download_is_discarded(served, tmp_path):
    served[1].write_bytes(b"to be or not to b3\n" * 100)
    with pytest.raises(InputError, match=r"play\.txt: 1900 .*SHA-256"):
        load_corpus(DataConfig(data=("play",)))
    with pytest.raises(InputError, match="SHA-256"):
        fetch(served[0])
    assert not list((tmp_path / "data").iterdir())


def test_another_version_can_be_fetched_with_verify_off(served):
    served[1].write_bytes(b"another version\n" * 100)
    assert len(load_corpus(DataConfig(data=("play",), verify=False)).train) == 1440


def test_the_error_without_a_network_names_address_file_and_folder(served, tmp_path):
    served[1].unlink()
    with pytest.raises(InputError) as caught:
        load_corpus(DataConfig(data=("play",)))
    message = str(caught.value)
    assert message.startswith(f"cannot fetch {served[0].url} (File not found): get it elsewhere")
    assert f"{tmp_path / 'data' / 'play.txt'}, or set `data_dir` or $GLUONLM_DATA" in message
    assert not list((tmp_path / "data").iterdir())


def test_a_damaged_corpus_is_rejected_unless_verify_is_off(served, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "play.txt").write_text("something else\n" * 10)
    with pytest.raises(InputError) as caught:
        load_corpus(DataConfig(data=("play",)))
    assert re.fullmatch(
        r".*/data/play.txt: 150 bytes with SHA-256 \w{12}\.\.\., but the published file has 1900 "
        r"and \w{12}\.\.\. \(http.*\): delete it and fetch it again, .*`no_verify`",
        str(caught.value),
    )
    assert len(load_corpus(DataConfig(data=("play",), verify=False)).train) == 135


def test_wikitext_without_a_network_names_files_and_folder(tmp_path, monkeypatch):
    gluonnlp = pytest.importorskip("gluonnlp")

    def offline(**kwargs):
        raise OSError("no network")

    monkeypatch.setattr(gluonnlp.data, "WikiText2", offline)
    with pytest.raises(InputError, match=r"wikitext-2-v1.zip.*wiki.train.tokens.*wikitext-2"):
        load_corpus(DataConfig(data=("wikitext-2",), data_dir=str(tmp_path), level="word"))
    assert not (tmp_path / "wikitext-2").exists()


def test_wikitext_files_fetched_by_gluonnlp_are_three_parts(tmp_path, monkeypatch):
    gluonnlp = pytest.importorskip("gluonnlp")
    segments = []

    def fetched(segment, root):
        segments.append(segment)
        for part in ("train", "valid", "test"):
            (Path(root) / f"wiki.{part}.tokens").write_text(f" = {part} = \n")

    monkeypatch.setattr(gluonnlp.data, "WikiText2", fetched)
    data = tmp_path / "new" / "data"
    config = DataConfig(data=("wikitext-2",), data_dir=str(data), level="word")
    with pytest.raises(InputError, match=r"wiki\.train\.tokens: 12 bytes with SHA-1 "):
        load_corpus(config)
    config = dataclasses.replace(config, verify=False)
    corpus = load_corpus(config)
    assert corpus.vocab.decode(corpus.train) == "= train =\n"
    assert corpus.vocab.decode(corpus.test) == "= <unk> =\n"
    assert segments == ["train", "val", "test"]
    load_corpus(config)
    assert len(segments) == 3  # files are not fetched twice
    assert [path.name for path in data.iterdir()] == ["wikitext-2"]


def test_the_catalogue_is_listed_and_documented(command, monkeypatch, tmp_path):
    monkeypatch.setenv("GLUONLM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("corpus")
    assert code == 0
    assert len(out.splitlines()) == len(CATALOGUE)
    assert re.search(r"^ptb .*: missing$", out, re.M)
    assert re.search(r"^python-docs  .*\(PSF License\): included in Python$", out, re.M)
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, entry in CATALOGUE.items():
        assert f"`{name}`" in readme
        for file in entry.files:
            folder, name = file.url.rsplit("/", 1)
            assert file.sha256 in readme
            assert file.sha1 in readme
            assert file.url in readme or (f"<{folder}/>" in readme and f"`{name}`" in readme)
            assert not file.size or f"{file.size:,}" in readme


def test_a_corpus_with_a_part_missing_is_listed_as_missing(command, tmp_path, monkeypatch):
    monkeypatch.delenv("GLUONLM_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ptb").mkdir()
    for part in ("train", "valid"):
        (tmp_path / "ptb" / f"ptb.{part}.txt").touch()
    assert re.search(r"^ptb .*: missing$", command("corpus", "--data-dir", ".")[1], re.M)
    (tmp_path / "ptb" / "ptb.test.txt").touch()
    found = command("corpus", "--data-dir", tmp_path)[1]
    assert re.search(rf"^ptb .*: {tmp_path}/ptb$", found, re.M)


def test_the_command_fetches_corpora_by_name(command, served, tmp_path):
    assert_refused(command("corpus", "nosuch"), "'nosuch'", *CATALOGUE)
    code, out, _ = command("corpus", "play", "python-docs", "--data-dir", "here")
    assert code == 0
    assert re.search(r"^play +a play \(none\): here$", out, re.M)
    assert Path("here/play.txt").read_bytes() == served[1].read_bytes()
    Path("here/play.txt").write_text("damaged")
    assert command("corpus", "play", "--data-dir", "here")[0] == 2
    assert command("corpus", "play", "--data-dir", "here", "--no-verify")[0] == 0
