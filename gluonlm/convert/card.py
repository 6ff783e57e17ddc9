"""The model card of an export: README.md with use, data, figures, command and limits."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config, changed_settings
from ..corpus.catalogue import CATALOGUE
from ..run.checkpoint import Checkpoint
from ..system.console import flag, harmless
from ..vocab import UNKNOWN
from .tokenizer import JSON, MODEL

TEXTS = ("data", "valid", "test")  # settings that name files
PLACES = ("data_dir", "verify", "kernels")  # settings of this machine
UNKNOWN_LICENCE = "unknown"  # an identifier of Hugging Face
PAGE = """\
---
license: {licence}
library_name: gluonlm
pipeline_tag: text-generation
tags:
- {kind}
- language-model
- {level}-level
---

# {name}

{about}

## Use

`modeling.py` needs torch and safetensors{needs}. Run this in the folder of these files:

```python
{use}
```

## Data

{data}

## Figures

{figures}

## Command

```console
$ {command}
```

## Limits

{limits}
"""
WITH_TOKENIZER = """\
import torch
from tokenizers import Tokenizer
from modeling import load

tokenizer = Tokenizer.from_file("tokenizer.json")
model, _ = load()
ids = torch.tensor(tokenizer.encode({prompt!r}).ids)[:, None]  # (T, N), N = 1
logits, state = model(ids)  # {shape}
print(tokenizer.decode([int(logits[{last}].argmax())]))"""
WITH_VOCABULARY = """\
import torch
from modeling import load

model, vocabulary = load()  # its tokens in the order of their ids
ids = torch.tensor({ids})[:, None]  # (T, N), N = 1
logits, state = model(ids)  # {shape}
print(vocabulary["tokens"][int(logits[{last}].argmax())])"""


def write_card(
    name: str,
    checkpoint: Checkpoint,
    records: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes],
    verified: str,
    licence: str = UNKNOWN_LICENCE,
) -> str:
    """Return the text of a model card.

    Parameters
    ----------
    records
        The run's metrics.jsonl; [] if it has none.
    files
        The other exported files.
    verified
        The result of the comparison with the run's model.
    licence
        An identifier of a licence.
    """
    config, vocab = checkpoint.config, checkpoint.vocab
    count = sum(array.size for array in checkpoint.parameters.values())
    members = f"{config.model.members} networks of kind " * (config.model.members > 1)
    return PAGE.format(
        licence=licence,
        kind=config.model.model,
        level=vocab.level,
        name=_line(name),
        about=f"A language model that predicts the next {vocab.kind.unit}: {members}"
        f"{config.model.model}, {count:,} parameters, {len(vocab):,} distinct {vocab.kind.unit}s, "
        f"after {checkpoint.progress['step']:,} steps. Trained with gluonlm on Apache MXNet.",
        needs=", and this example tokenizers" if JSON in files else "",
        use=_use(checkpoint, files),
        data=_data(config, checkpoint),
        figures=_figures(checkpoint, records),
        command=_command(config),
        limits="\n".join(f"- {limit}" for limit in _limits(checkpoint, files, verified)),
    )


def _line(text):
    """Return a text of the run as part of a line of Markdown."""
    return re.sub(r"[`<>\[\]]", "", " ".join(harmless(str(text)).split()))


def _use(checkpoint, files):
    window, vocab = checkpoint.config.model.window, checkpoint.vocab
    carried = checkpoint.config.model.model not in ("unrolled", "window")
    shape, last = ("(T, N, V)", "-1, 0") if carried else ("(N, V)", "0")
    ids = vocab.default_prompt() * (1 if carried else window)
    if JSON in files:
        prompt = vocab.decode(ids)
        return WITH_TOKENIZER.format(prompt=prompt, shape=shape, last=last)
    return WITH_VOCABULARY.format(ids=ids, shape=shape, last=last)


def _named(config):
    """Return the names of the texts, without folders, which may be private."""
    named = (*config.data.data, *filter(None, (config.data.valid, config.data.test)))
    return [_line(Path(text).name) for text in named]


def _data(config, checkpoint):
    (first, *_), digest = config.data.data, checkpoint.progress.get("corpus")
    texts = ", ".join(f"`{name}`" for name in _named(config))
    lines = [f"Text: {texts}, read as {checkpoint.vocab.kind.unit}s."]
    if first in CATALOGUE:
        entry = CATALOGUE[first]
        lines = [f"Text: {entry.about} (`{first}`; licence of the text: {entry.licence})."]
    if not (config.data.valid or config.data.test):
        lines.append(f"Training, validation and test parts: {_line(config.data.split)} %.")
    if isinstance(digest, str) and digest.isalnum():
        lines.append(f"Fingerprint of the text: `{digest}`.")
    return "\n".join(lines)


def _figures(checkpoint, records):
    """Return a table of the checkpoint's losses; a resumed run may have scored it twice."""
    step, unit, rows = checkpoint.progress["step"], checkpoint.vocab.kind.unit, []
    found = {r.get("event"): r for r in records if r.get("step") == step}
    validation, result = found.get("validation", {}), found.get("result", {})
    part = {"test": "test", "valid": "validation, as one stream"}.get(str(result.get("part")))
    for name, nats in (
        ("validation, in streams", validation.get("valid_loss")),
        (part, result.get("loss")),
    ):
        if name and _is_number(nats):
            rows.append(f"| {name} | {nats:.4f} | {_exp(nats)} |")
    if not rows:
        return "None are recorded; `gluonlm evaluate` prints them."
    lines = [f"| part | nats per {unit} | perplexity |", "|---|---|---|", *rows]
    if _is_number(result.get("bits")):
        lines += ["", f"{part}: {result['bits']:.4f} bits per character."]
    if _is_number(result.get("seconds")):
        lines += ["", f"Training took {result['seconds']:,.0f} s on {_line(result.get('device'))}."]
    return "\n".join(lines)


def _is_number(value):
    return type(value) in (int, float) and 0 <= value < 2**53


def _exp(nats):
    return f"{math.exp(nats):,.2f}" if nats < 100 else "very large"


def _command(config: Config) -> str:
    """Return the command that trains with these settings."""
    words = ["gluonlm", "train"]
    for name, _, value, _ in changed_settings(Config(), config):
        if name in PLACES:
            continue
        if name in TEXTS:
            many = value if isinstance(value, tuple) else (value,)
            words += [flag(name), *(_line(Path(text).name) for text in many)]
        else:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            shown = str(shown).lower() if isinstance(value, bool) else shown
            words += ["--set", f"{name}={_line(shown)}"]
    return shlex.join(words)


def _limits(checkpoint, files, verified):
    vocab, data = checkpoint.vocab, checkpoint.config.data
    yield (
        "The model continues text in the style of its data. It does not know facts, and it may "
        "repeat passages of the data (`gluonlm generate --novelty` counts them)."
    )
    if vocab.level == "char":
        yield f"It reads only its {len(vocab):,} characters; others are an error."
    if UNKNOWN in vocab.index and vocab.level == "word":
        yield "Words outside its vocabulary are read as `<unk>`."
    if data.lower:
        yield "Texts are converted to lower case."
    if JSON not in files:
        yield (
            "`tokenizers` cannot express its tokenizer: vocab.json contains the tokens, and "
            "gluonlm splits texts."
        )
    if MODEL in files:
        yield f"`{MODEL}` is the original tokenizer, for SentencePiece."
    if MODEL in files and JSON in files and vocab.kind.tokenizer == "unigram":
        yield f"Where two tokenizations are equally probable, {JSON} may choose the other one."
    yield "`modeling.py` is not a class of transformers: load it as above."
    yield f"The export was {verified}."
