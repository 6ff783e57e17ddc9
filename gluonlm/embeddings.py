"""Command line: inspect a trained embedding. `python -m gluonlm.embeddings --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .config.flags import Parser
from .system.console import complain, run_command, show
from .system.errors import InputError
from .system.files import check_output, output_file
from .system.plots import drawable, font_to_install, new_axes, to_png
from .vocab import END_OF_LINE, UNKNOWN, Vocab


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "embeddings",
        "Draw a t-SNE map of a model's most frequent words, or list neighbours of words.",
        examples=("runs/ptb-lstm --out map.png", "runs/ptb-lstm --near monday company"),
    )
    parser.add_run()
    add = parser.add_argument
    add(
        "--near",
        nargs="+",
        metavar="WORD",
        help="list the nearest neighbours of these words, by cosine similarity; \\n, \\t and \\f "
        "mean line break, tab and form feed, unless the vocabulary contains a backslash",
    )
    add("--neighbours", type=int, default=8, metavar="N", help="neighbours to list (default: 8)")
    add(
        "--count",
        type=int,
        default=300,
        metavar="N",
        help="number of most frequent words on the map (default: 300)",
    )
    add(
        "--out",
        metavar="FILE",
        help="PNG file of the map (default: embeddings.png, or no map with --near)",
    )
    add("--seed", type=int, default=1, metavar="S", help="random seed of the map (default: 1)")
    parser.add_overwrite()
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    count, neighbours, seed = arguments.count, arguments.neighbours, arguments.seed
    if count < 3 or neighbours < 1 or not 0 <= seed < 2**32:
        raise InputError(
            f"`count` {count}, `neighbours` {neighbours}, `seed` {seed}: "
            "count must be at least 3, neighbours at least 1, and seed from 0 to 4,294,967,295"
        )
    return arguments


def visible(token: str) -> str:
    """Return a printable form of a token; white space as a Python literal."""
    return token if token.isprintable() and token.strip() else repr(token)


def nearest(
    vectors: np.ndarray, vocab: Vocab, word: str, count: int = 8
) -> list[tuple[str, float]]:
    """Return the tokens with the highest cosine similarity to a token.

    Parameters
    ----------
    vectors
        `(V, C)`, one row per id of `vocab`.

    Returns
    -------
    list of (str, float)
        Token and cosine similarity of the `count` nearest other tokens.

    Raises
    ------
    InputError
        For an unknown token.
    """
    if word not in vocab.index:
        raise InputError(f"{word!r} is not among the {len(vocab)} tokens of this model")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit[vocab.index[word]]  # (V,)
    order = np.argsort(-similarity, kind="stable")
    others = [(vocab.tokens[i], float(similarity[i])) for i in order if i != vocab.index[word]]
    return others[:count]


def project(vectors: np.ndarray, count: int = 300, seed: int = 1) -> np.ndarray:
    """Project the first `count` vectors of `(V, C)` to two dimensions by t-SNE.

    Returns
    -------
    numpy.ndarray
        `(count, 2)`.
    """
    from sklearn.manifold import TSNE

    chosen = np.asarray(vectors[:count], np.float64)
    perplexity = min(30, (len(chosen) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=seed)
    return plane.fit_transform(chosen)


def draw_map(points: np.ndarray, words: Sequence[str]) -> bytes:
    """Return a PNG of words at their points `(M, 2)`.

    Characters that no installed font contains are drawn as code points.
    """
    figure, axes = new_axes(12, 12)
    axes.scatter(*points.T, s=4, color="#9aa5b1")
    labels, families, _ = drawable(map(visible, words))
    style = dict(xytext=(2, 2), textcoords="offset points", fontsize=8, parse_math=False)
    for point, label in zip(points, labels):
        axes.annotate(label, tuple(point), family=families, **style)
    axes.set_axis_off()
    return to_png(figure)


def main(argv=None) -> None:
    arguments = parse(argv)
    out = Path(arguments.out or "embeddings.png")
    if arguments.out or not arguments.near:
        check_output(out, arguments.overwrite)
    from .run.load import load_model

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    vectors, vocab = model.embedding_matrix(), checkpoint.vocab
    drawn = arguments.out or not arguments.near
    # word ids are ordered by frequency; characters are few enough to show all
    kept = [i for i, word in enumerate(vocab.tokens) if word not in (UNKNOWN, END_OF_LINE)]
    ids = kept[: arguments.count]
    if drawn and len(ids) < 3:
        raise InputError(f"{len(ids)} tokens are too few: at least 3 are needed for a map")
    words = [vocab.unescape(word) for word in arguments.near or ()]
    if checkpoint.config.data.lower:
        words = [word.lower() for word in words]
    found = [nearest(vectors, vocab, word, arguments.neighbours) for word in words]
    for word, others in zip(words, found):
        show(visible(word), "\n")
        for other, similarity in others:
            show(f"  {similarity:.3f}  {visible(other)}", "\n")
    if drawn:
        points = project(vectors[ids], len(ids), arguments.seed)
        with output_file(out, arguments.overwrite) as stream:
            stream.write(draw_map(points, [vocab.tokens[i] for i in ids]))
        show(f"map written to {out}", "\n")
        if missing := drawable(visible(vocab.tokens[i]) for i in ids)[2]:
            more = f" and {len(missing) - 1} other characters" if len(missing) > 1 else ""
            complain(
                f"no installed font contains {missing[0]}{more}: the map shows code points; "
                f"install a font such as {font_to_install(missing)}"
            )


if __name__ == "__main__":
    run_command(main)
