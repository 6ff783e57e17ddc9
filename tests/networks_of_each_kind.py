"""A small network of each kind, with a matching checkpoint."""

import mxnet as mx

from gluonlm.config import Config
from gluonlm.models import model_for
from gluonlm.run.checkpoint import Checkpoint
from gluonlm.vocab import Vocab

VOCAB = Vocab("char", "\n abcdefghijklmnopqrstuvwxyz.,")
KINDS = {
    "rnn tanh": dict(model="rnn", hidden_size=(7,)),
    "rnn relu": dict(model="rnn", activation="relu", hidden_size=(7, 5)),
    "lstm": dict(model="lstm", hidden_size=(6, 9, 4)),
    "gru": dict(model="gru", hidden_size=(8, 5)),
    "mingru": dict(model="mingru", hidden_size=(8, 5)),
    "minlstm": dict(model="minlstm", hidden_size=(6, 9, 4)),
    "tied": dict(model="gru", hidden_size=(9, 6), embed_size=6, tie_weights=True),
    "ensemble": dict(model="lstm", hidden_size=(6, 5), members=3),
    "tied ensemble": dict(model="gru", hidden_size=(6,), embed_size=6, tie_weights=True, members=2),
    "documents": dict(model="lstm", hidden_size=(6, 5), document_separator="\n"),
    "documents rnn": dict(model="rnn", hidden_size=(6,), document_separator="a"),
    "documents ensemble": dict(model="gru", hidden_size=(6, 7), members=2, document_separator="\n"),
    "documents mingru": dict(model="mingru", hidden_size=(6, 7), document_separator="\n"),
    "minlstm ensemble": dict(
        model="minlstm",
        hidden_size=(6,),
        members=2,
        embed_size=6,
        tie_weights=True,
        document_separator="a",
    ),
    "unrolled": dict(model="unrolled", hidden_size=(6,), window=3),
    "unrolled tanh": dict(model="unrolled", hidden_size=(6,), window=4, activation="tanh"),
    "onehot": dict(model="window", hidden_size=(6,), window=5, representation="onehot"),
    "real": dict(model="window", hidden_size=(6,), window=5, representation="real"),
    "embedding": dict(model="window", hidden_size=(6,), window=5, representation="embedding"),
}


def checkpoint_of(kind, vocab=VOCAB):
    """Return (model, checkpoint) for a kind by name, or for other settings."""
    config = Config.from_dict(KINDS[kind] if isinstance(kind, str) else kind)
    model = model_for(config, vocab).prepare([mx.cpu()], "uniform:0.5", 3)
    return model, Checkpoint(config, vocab, model.arrays(), {}, {"step": 0})
