"""The live page's files, which come with the package."""

from __future__ import annotations

import importlib.resources

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file by its name: whoever serves them looks up names here
    and never in a file system."""
    folder = importlib.resources.files("se4lip") / "web" / "static"
    return {
        file.name: (file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
    }
