"""A trained model on disk: the run's folder, its checkpoints, and its text."""
