"""Access to the machine: files, processes, devices and MXNet."""
