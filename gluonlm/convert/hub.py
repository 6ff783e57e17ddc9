"""Export by the conventions of Hugging Face: a folder with weights, tokenizer and model card.

model.safetensors  modeling.py      as in the export to PyTorch
config.json                         the settings of the network and of the text
tokenizer.json  tokenizer.model  vocab.json     see `tokenizer`
README.md                           see `card`
"""

from __future__ import annotations

import json

from ..run.checkpoint import Checkpoint
from . import torch
from .network import networks_of
from .tokenizer import JSON, MODEL, PLAIN, tokenizer_files

WEIGHTS, MODULE, CONFIG, CARD = "model.safetensors", "modeling.py", "config.json", "README.md"
NAMES = (WEIGHTS, MODULE, CONFIG, JSON, MODEL, PLAIN, CARD)


def model_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the content of each file except the card, by name."""
    return {
        WEIGHTS: torch.state_dict(checkpoint),
        MODULE: torch.module(checkpoint, WEIGHTS).encode(),
        CONFIG: (json.dumps(describe(checkpoint), indent=1) + "\n").encode(),
        **tokenizer_files(checkpoint),
    }


def describe(checkpoint: Checkpoint) -> dict:
    """Return the content of config.json."""
    from .. import __version__

    networks, data = networks_of(checkpoint), checkpoint.config.data
    network, sizes = networks[0], checkpoint.config.model.layer_sizes()
    return {
        "model_type": "gluonlm",
        "architectures": ["Ensemble" if len(networks) > 1 else "Network"],
        "gluonlm_version": __version__,
        "torch_dtype": "float32",
        "layer_type": network.cell,
        "network": network.kind,
        "activation": network.activation,
        "vocab_size": network.vocab_size,
        "embedding_size": checkpoint.config.model.embed_size,
        "hidden_sizes": [*sizes],
        "num_hidden_layers": len(sizes),
        "tie_word_embeddings": network.tied,
        "num_networks": len(networks),
        "window": network.window,
        "level": checkpoint.vocab.level,
        "tokenizer": checkpoint.vocab.to_dict().get("tokenizer"),
        "lower": data.lower,
        "keep_line_ends": data.keep_line_ends,
    }
