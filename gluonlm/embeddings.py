"""Command line: look at what a model's embedding has learnt. `python -m gluonlm.embeddings --help`."""

import io
from pathlib import Path

import numpy as np

from .cli import Parser, run_command, show
from .errors import InputError
from .vocab import END_OF_LINE, UNKNOWN


def parse(argv=None):
    parser = Parser(
        "embeddings",
        "Draw the t-SNE map of a model's most frequent words, or list the neighbours of words.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
    parser.add_argument(
        "--near",
        nargs="+",
        metavar="WORD",
        help="list the nearest neighbours of these words, by cosine similarity",
    )
    parser.add_argument(
        "--neighbours", type=int, default=8, metavar="N", help="neighbours to list (default: 8)"
    )
    parser.add_argument(
        "--count",
        type=int,
        default=300,
        metavar="N",
        help="words on the map, the most frequent ones (default: 300)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="picture of the map (default: embeddings.png, none with --near)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="seed of the map (default: 1)"
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        default="best",
        help="which of the run's (default: best)",
    )
    arguments = parser.parse_args(argv)
    if arguments.count < 3 or arguments.neighbours < 1 or arguments.seed < 0:
        raise InputError(
            f"--count {arguments.count}, --neighbours {arguments.neighbours}, --seed {arguments.seed}: "
            "count starts at 3, neighbours at 1, seed at 0"
        )
    return arguments


def visible(token):
    """Give a token as it can be seen: white space and the like as Python writes them."""
    return token if token.isprintable() and token.strip() else repr(token)


def embedding_matrix(model):
    """Give a model's embedding, or an ensemble's side by side, as a NumPy array `(V, C)`. Raises: InputError if it has none."""
    networks = getattr(model, "networks", [model])
    if not hasattr(networks[0], "embedding"):
        raise InputError("this model has no embedding: it reads its tokens as they are")
    weights = [network.embedding.weight for network in networks]
    return np.hstack([weight.data(weight.list_ctx()[0]).asnumpy() for weight in weights])


def nearest(vectors, vocab, word, count=8):
    """List the tokens whose vectors point most nearly where a token's own does.

    Parameters: `vectors`, `(V, C)`, a row for each id of `vocab`.
    Returns: (token, cosine similarity) for the `count` nearest, itself left out. Raises: InputError for an unknown token.
    """
    if word not in vocab.index:
        raise InputError(f"{word!r} is not among the {len(vocab)} tokens this model knows")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit[vocab.index[word]]
    order = np.argsort(-similarity, kind="stable")
    return [(vocab.tokens[i], float(similarity[i])) for i in order if i != vocab.index[word]][
        :count
    ]


def project(vectors, count=300, seed=1):
    """Lay the first `count` vectors of `(V, C)` out on a plane, near ones near each other, by t-SNE: `(count, 2)`."""
    from sklearn.manifold import TSNE

    chosen = np.asarray(vectors[:count], np.float64)
    perplexity = min(30, (len(chosen) - 1) / 3)
    return TSNE(
        2, perplexity=perplexity, metric="cosine", init="random", random_state=seed
    ).fit_transform(chosen)


def draw_map(points, words):
    """Draw words at their points `(M, 2)`. Gives the PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*points.T, s=4, color="#9aa5b1")
    for (x, y), word in zip(points, words):
        axes.annotate(
            visible(word),
            (x, y),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=8,
            parse_math=False,
        )
    axes.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()


def main(argv=None):
    arguments = parse(argv)
    from .checkpoint import load_model, replace_file

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    vectors, vocab = embedding_matrix(model), checkpoint.vocab
    for word in arguments.near or ():
        word = word.lower() if checkpoint.config.data.lower else word
        show(visible(word), "\n")
        for other, similarity in nearest(vectors, vocab, word, arguments.neighbours):
            show(f"  {similarity:.3f}  {visible(other)}", "\n")
    if arguments.out or not arguments.near:
        # ids are in order of frequency, for words; of characters there are few enough to show all
        ids = [i for i, token in enumerate(vocab.tokens) if token not in (UNKNOWN, END_OF_LINE)][
            : arguments.count
        ]
        if len(ids) < 3:
            raise InputError(f"{len(ids)} tokens make no map")
        out = Path(arguments.out or "embeddings.png")
        replace_file(
            out,
            draw_map(
                project(vectors[ids], len(ids), arguments.seed), [vocab.tokens[i] for i in ids]
            ),
        )
        print(f"picture {out}")


if __name__ == "__main__":
    run_command(main)
