"""Named corpora and the user's own files: find, fetch, verify, decode, split, encode.

`catalogue` knows the named corpora, `load` turns a text into ids, `ids` keeps the ids of long
texts in files, `followed` says which texts a run may name, `shared` reads once for many
processes. `python -m gluonlm.corpus` lists the catalogue, with NAME it fetches a corpus.
"""

from .catalogue import CATALOGUE, Entry, File, fetch, find
from .followed import follow, load_own
from .load import Corpus, load_corpus
from .shared import share_corpus

__all__ = [
    "CATALOGUE",
    "Corpus",
    "Entry",
    "File",
    "fetch",
    "find",
    "follow",
    "load_corpus",
    "load_own",
    "share_corpus",
]
