"""Keeps checkpoints outside the data directory: a file elsewhere, a git repository, a webhook."""
