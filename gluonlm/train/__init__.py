"""Training. Imports nothing: MXNet must not load before `--threads` is applied."""
