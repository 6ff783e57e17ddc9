"""The kinds of tokens, and the rules that find them in a text."""

# each level's rules, the default first, and where cutting a text does not change its tokens
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
