"""Learned things as files: where a model's class and its weights file meet."""
