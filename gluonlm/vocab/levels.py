"""What a token can be, and the rules by which each kind is found in a text."""

# each level's rules, its own first, and where a text may be cut without changing what they find
RULES = {
    "char": {"characters": "anywhere"},
    "word": {"split": "word", "punctuation": "word", "moses": "line"},
    "subword": {"unigram": "space", "bpe": "space"},
}


def rule_of(level: str, tokenizer: str) -> str:
    """Return the rule that finds a level's tokens; "auto" is the level's own."""
    return next(iter(RULES[level])) if tokenizer == "auto" else tokenizer


def cut_of(level: str, tokenizer: str) -> str:
    """Return where a text may be cut, for `text.Text`."""
    return RULES[level][rule_of(level, tokenizer)]
