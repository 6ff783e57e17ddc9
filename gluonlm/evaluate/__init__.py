"""Scoring texts, and models that adapt while they are scored."""
