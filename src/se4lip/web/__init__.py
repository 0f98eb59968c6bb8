"""The live head in a browser (docs/live.md)."""
