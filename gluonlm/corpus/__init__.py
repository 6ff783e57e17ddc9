"""Named corpora and the user's own files: find, fetch, verify, decode, split, encode.

`catalogue` lists the named corpora, `load` turns a text into ids, `ids` caches ids of long texts
in files, `trust` checks which texts a run may name, and `broadcast` reads a text once for all
processes. `python -m gluonlm.corpus` lists the catalogue; with NAME it fetches a corpus.
"""

from .broadcast import share_corpus
from .catalogue import CATALOGUE, Entry, File, fetch, find
from .load import Corpus, load_corpus
from .trust import check_trusted

__all__ = [
    "CATALOGUE",
    "Corpus",
    "Entry",
    "File",
    "check_trusted",
    "fetch",
    "find",
    "load_corpus",
    "share_corpus",
]
