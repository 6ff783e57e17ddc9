"""The levels of tokens, and the tokenizers that find them in a text."""

# Level: {tokenizer: where `corpus.text.Text` may cut a text without changing its tokens}. The first
# tokenizer of a level is its default.
RULES = {
    "char": {"characters": "anywhere"},
    "word": {"split": "word", "punctuation": "word", "moses": "line"},
    "subword": {"unigram": "space", "bpe": "space"},
}


def rule_of(level: str, tokenizer: str) -> str:
    """Return the rule that finds a level's tokens; "auto" is the level's default."""
    return next(iter(RULES[level])) if tokenizer == "auto" else tokenizer


def cut_of(level: str, tokenizer: str) -> str:
    """Return where a text may be cut, for `text.Text`."""
    return RULES[level][rule_of(level, tokenizer)]
