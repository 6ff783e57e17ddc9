"""Training. Nothing is imported here: MXNet must not load before `--threads` is known."""
