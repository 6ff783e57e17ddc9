"""Score texts, with the weights fixed or adapted while reading."""
