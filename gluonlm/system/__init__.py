"""The machine that a command runs on: files, processes, devices, MXNet itself."""
