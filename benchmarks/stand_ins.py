"""Write small stand-ins for the data files of old notebooks and scripts.

    python benchmarks/stand_ins.py FOLDER
    gluonlm run FILE --data-dir FOLDER

The stand-ins have the names and formats of the published files and generated contents, so that a
file can be tried where the published files cannot be downloaded. Its results mean nothing.
NLTK finds its stand-in with NLTK_DATA=FOLDER/nltk_data.

    python benchmarks/stand_ins.py FOLDER --wikitext-2
    gluonlm train --preset wikitext-2-small --data-dir FOLDER --no-verify

writes only a text with as many words, and as many different ones, as WikiText-2, to measure speed
and memory.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import zipfile
from itertools import accumulate
from pathlib import Path

import gluonlm  # noqa: F401  prepares the process for MXNet

# isort: split
import gluonnlp as nlp
import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo.model_store import short_hash

# words that the notebooks look up
LOOKED_UP = (
    *("the", ".", ",", "I", "love", "it", "this", "This", "movie", "is", "amazing", "so", "great"),
    *("bad", "hello", "world", "hi", "nice", "beautiful", "baby", "babies", "computers", "run"),
    *("man", "woman", "son", "daughter", "beijing", "china", "tokyo", "worst", "big", "do", "did"),
    *("go", "vector"),
)
SYLLABLES = [a + b for a in "bdfgklmnprstvw" for b in "aeiou"]
WORDS, GBW_WORDS, GLOVE_WORDS = 2_000, 20_000, 72_000  # vocabulary sizes
GBW = "1-billion-word-language-modeling-benchmark-r13output"
ELMO = "elmo_2x1024_128_2048cnn_1xhighway"
# of WikiText-2 (Merity et al. 2016): tokens of each part with one <eos> per line, and words
WIKITEXT_TOKENS = {"train": 2_088_628, "valid": 217_646, "test": 245_569}
WIKITEXT_WORDS = 33_278
LINE = 58  # tokens per line, with its <eos>; every other line is blank


def make_words(number: int) -> list[str]:
    """Return different words, those in `LOOKED_UP` first."""
    words = dict.fromkeys(LOOKED_UP)
    while len(words) < number:
        words["".join(random.choices(SYLLABLES, k=random.randint(2, 4)))] = None
    return list(words)


def make_sentences(words: list[str], number: int, length: int = 20) -> list[str]:
    """Return sentences whose words have frequencies inversely proportional to their ranks."""
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    lengths = random.choices(range(length // 2, length * 3 // 2), k=number)
    return [" ".join(random.choices(words, cum_weights=weights, k=k)) + " ." for k in lengths]


def write_zip(path: Path, members: dict[str, str]) -> None:
    """Write a zip archive of texts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def write_wikitext(folder: Path, words: list[str]) -> nlp.Vocab:
    """Write WikiText-2 and return the vocabulary of its training segment."""
    members = {}
    for segment, number in (("test", 70), ("valid", 70), ("train", 1_500)):
        lines = make_sentences(words, number)
        lines[::10] = [f"\n = {line.split()[0]} = \n" for line in lines[::10]]
        text = "".join(f" {line} \n" for line in lines)
        members[f"wikitext-2/wiki.{segment}.tokens"] = text
    write_zip(folder / "wikitext-2-v1.zip", members)
    tokens = text.replace("\n", " <eos> ").split() + words
    vocab = nlp.Vocab(nlp.data.Counter(tokens), padding_token=None, bos_token=None)
    write_zip(folder / "wikitext-2-be36dc52.zip", {"wikitext-2-be36dc52.vocab": vocab.to_json()})
    return vocab


def write_wikitext_of_its_size(folder: Path, tokens: dict[str, int], words: int) -> None:
    """Write WikiText-2 with these numbers of tokens and different words, `<unk>` and `<eos>`.

    Frequencies are inversely proportional to ranks; every word occurs in the training part.
    """
    draws = np.random.default_rng(0)
    vocab = np.array(["<unk>", *make_words(words - 2)])
    chances = 1 / np.arange(1, len(vocab) + 1)
    (folder / "wikitext-2").mkdir(parents=True, exist_ok=True)
    for part, number in tokens.items():
        lines = []
        drawn = draws.choice(vocab, number, p=chances / chances.sum())
        if part == "train":
            inside = np.flatnonzero(np.arange(number) % LINE < LINE - 2)
            drawn[draws.choice(inside[: number // LINE * (LINE - 2)], len(vocab), False)] = vocab
        for place in range(0, number, LINE):
            line = drawn[place : min(place + LINE, number) - 2]  # two <eos>: a blank line follows
            lines.append(f" {' '.join(line)} \n \n")
        (folder / "wikitext-2" / f"wiki.{part}.tokens").write_text("".join(lines))


def write_billion_words(folder: Path, words: list[str]) -> None:
    """Write the One Billion Word Benchmark with the vocabularies of GluonNLP and MXNet."""
    for name in (
        *(f"training-monolingual.tokenized.shuffled/news.en-{i:05}-of-00100" for i in (1, 2)),
        "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
    ):
        path = folder / GBW / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(make_sentences(words, 700)) + "\n")
    shutil.make_archive(str(folder / GBW), "gztar", folder, GBW)
    vocab = nlp.Vocab(nlp.data.Counter(words), bos_token=None)
    write_zip(folder / "gbw-ebb1a287.zip", {"gbw-ebb1a287.vocab": vocab.to_json()})
    counts = (f"{word} {len(words) - i}\n" for i, word in enumerate(["<S>", *words, "<UNK>"]))
    (folder / "1b_word_vocab.txt").write_text("".join(counts))


def write_model(folder: Path, name: str, model: mx.gluon.Block) -> None:
    """Write a pretrained model of GluonNLP with random weights."""
    model.initialize(mx.init.Uniform(0.1))
    published = f"{name}-{short_hash(name)}"
    with tempfile.TemporaryDirectory() as place:
        model.save_parameters(f"{place}/{published}.params")
        shutil.make_archive(str(folder / published), "zip", place)


def write_embeddings(folder: Path, words: list[str]) -> None:
    """Write GloVe and fastText vectors in the formats of GluonNLP and MXNet."""
    for name, number, columns in (
        ("glove.6B.50d.npz", len(words), 50),
        ("glove.6B.300d.npz", WORDS, 300),
        ("wiki.simple.npz", WORDS, 300),
    ):
        vectors = mx.nd.random.uniform(-1, 1, (1 + number, columns))
        tokens = ["<unk>", *words[:number]]
        embedding = nlp.embedding.TokenEmbedding(idx_to_token=tokens, idx_to_vec=vectors)
        embedding.serialize(folder / name)
    rows = np.random.uniform(-1, 1, (WORDS, 100)).round(4).tolist()
    lines = (" ".join([word, *map(str, row)]) for word, row in zip(words, rows))
    write_zip(folder / "glove.6B.zip", {"glove.6B.100d.txt": "\n".join(lines) + "\n"})


def write_reviews(folder: Path, words: list[str]) -> None:
    """Write film reviews of IMDB, in two formats, and reviews of Yelp."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "aclImdb")
        for segment in ("train", "test"):
            scored = [(text, random.choice((2, 9))) for text in make_sentences(words, 160, 60)]
            (folder / f"{segment}.json").write_text(json.dumps(scored))
            for i, (text, score) in enumerate(scored):
                path = root / segment / ("pos" if score > 5 else "neg") / f"{i}_{score}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        shutil.make_archive(str(folder / "aclImdb_v1"), "gztar", place, root.name)
    texts = make_sentences(words, 400, 30)
    reviews = {"texts": texts, "labels": [random.randint(1, 5) for _ in texts]}
    name = "yelp_review_subset"
    write_zip(folder / f"{name}-167bb781.zip", {f"{name}.json": json.dumps(reviews)})


def write_translations(folder: Path, words: list[str]) -> None:
    """Write English and Vietnamese sentences of IWSLT 2015."""
    members = {}
    for language, chosen in (("en", words[::2]), ("vi", words[1::2])):
        for segment, number in (("train", 400), ("tst2012", 16), ("tst2013", 16)):
            members[f"{segment}.{language}"] = "\n".join(make_sentences(chosen, number, 10)) + "\n"
        counter = nlp.data.Counter(members[f"train.{language}"].split())
        vocab = nlp.Vocab(counter, bos_token="<s>", eos_token="</s>")
        members[f"vocab.{language}.json"] = vocab.to_json()
    write_zip(folder / "iwslt15.zip", {f"iwslt15/{name}": text for name, text in members.items()})


def write_speeches(folder: Path, words: list[str]) -> None:
    """Write the speeches and the character model of MXNet's char-rnn.ipynb."""
    lines = [f"The joke {line[:100]}" for line in make_sentences(words, 64, 16)]
    with tempfile.TemporaryDirectory() as place:
        Path(place, "obama.txt").write_text("\n".join(lines) + "\n")
        parameters = {"cls_bias": mx.nd.zeros(1 + len({*"\n".join(lines)}))}
        mx.model.save_checkpoint(f"{place}/obama", 75, mx.sym.var("data"), parameters, {})
        shutil.make_archive(str(folder / "char_lstm"), "zip", place)


def write_texts(folder: Path, words: list[str]) -> None:
    """Write books as plain text, text8, the rare words, and NLTK's punkt."""
    for name in ("sherlockholmes.train", "sherlockholmes.valid", "sherlockholmes.test", "input"):
        number = 800 if "train" in name else 100
        (folder / f"{name}.txt").write_text("\n".join(make_sentences(words, number)) + "\n")
    text = " ".join(make_sentences(words, 5_000)).replace(" .", "")
    write_zip(folder / "text8-6c70299b.zip", {"text8": text})
    pairs = ("\t".join([*random.sample(words, 2), f"{random.uniform(0, 10):.2f}"]) for _ in words)
    write_zip(folder / "rw.zip", {"rw/rw.txt": "\n".join(pairs) + "\n"})
    punkt = folder / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    punkt.mkdir(parents=True, exist_ok=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (punkt / name).touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    about = "write only a text of the size of WikiText-2"
    parser.add_argument("--wikitext-2", action="store_true", help=about)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for library in (random, np.random, mx.random):
        library.seed(0)
    if arguments.wikitext_2:
        write_wikitext_of_its_size(folder, WIKITEXT_TOKENS, WIKITEXT_WORDS)
        return
    all_words = make_words(GLOVE_WORDS)
    words = all_words[:WORDS]
    vocab = write_wikitext(folder, words)
    for name in ("standard_lstm_lm_200", "awd_lstm_lm_1150"):
        model, _ = nlp.model.get_model(name, dataset_name=None, vocab=vocab)
        write_model(folder, f"{name}_wikitext-2", model)
    write_model(folder, f"{ELMO}_gbw", nlp.model.get_model(ELMO)[0])
    write_billion_words(folder, all_words[:GBW_WORDS])
    write_embeddings(folder, all_words)
    write_reviews(folder, words)
    write_translations(folder, words)
    write_speeches(folder, words)
    write_texts(folder, words)


if __name__ == "__main__":
    main()
