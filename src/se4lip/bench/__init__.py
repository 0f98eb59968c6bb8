"""The experiments: one page each, resumable, with a quick version; results go to docs/results."""
