"""Whole files or none: writing beside the goal, then renaming; and a sentence for each failure."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.types import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ABANDONED_S = 3600.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what is written there becomes ``path`` at the end.

    The temporary name keeps the suffix, because some writers choose their format by it. Missing
    parent folders are made. If the block fails, nothing is left behind and an old ``path`` stays.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    goal = Path(path)
    if goal.is_symlink():  # it goes on leading where it led
        goal = goal.resolve()
    # Process and thread in the name: two writers of one goal must not share a temporary file.
    part = goal.with_name(f".{goal.stem}.{os.getpid()}-{threading.get_ident()}.part{goal.suffix}")
    try:
        _check_goal(goal)
        goal.parent.mkdir(parents=True, exist_ok=True)
        _sweep(goal.parent)
        part.touch()
    except OSError as error:
        raise InputError(f"cannot write {goal}: {_why(error)}: choose another output") from error
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(goal)
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(f"cannot write {goal}: {_why(error)}: free some space") from error
        raise
    finally:
        part.unlink(missing_ok=True)


@functools.cache  # to look through a folder of many clips costs more than to write one
def _sweep(folder: Path) -> None:
    """Remove what writers that were killed have left in ``folder``, once in a process.

    Their processes are gone. On a folder that several machines share another's process cannot be
    seen, so what was written to within the hour stays.
    """
    try:
        left = [path for path in folder.iterdir() if is_temporary(path)]
    except OSError:  # a folder need not be readable to be written into
        return
    for path in left:
        process = int(re.findall(r"\d+", path.name.rpartition(".part")[0])[-2])
        with contextlib.suppress(OSError):  # somebody else sweeps as well
            if time.time() - path.stat().st_mtime > _ABANDONED_S and not _runs(process):
                path.unlink()


def _runs(process: int) -> bool:
    if os.name == "nt":  # there the question itself would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or a number that is none of a process
        pass
    return True


def is_temporary(path: Path) -> bool:
    """Whether ``atomic`` or a probe has made ``path`` and was killed before it removed it."""
    pattern = r"\.(.+\.)?\d+-\d+\.part(\.[^.]*)?"
    return re.fullmatch(pattern, path.name, re.DOTALL) is not None  # names may hold any character


@contextlib.contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Keep others out of this block with ``folder``, in other processes too.

    The lock is the kernel's: it goes when its process does, and leaves no file. Where there is no
    such lock (Windows) nobody is kept out.

    Raises:
        InputError: another is in there.
    """
    if fcntl is None:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot write {what} {folder}: {_why(error)}: check the path") from error
    try:
        if not _locked(handle, folder):
            raise InputError(
                f"another se4lip is writing {what} {folder}: wait until it has ended, or choose "
                "another output"
            )
        yield
    finally:
        os.close(handle)


def _locked(handle: int, folder: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks
        return True
    # Whoever had it before may have removed the folder meanwhile.
    return folder.exists() and os.path.samestat(os.fstat(handle), folder.stat())


def writable_folder(path: Path | str) -> Path:
    """Prove that files can be made in folder ``path``. It is not made yet: ``atomic`` does that,
    so that a run that fails before it has anything to write leaves nothing.

    Raises:
        InputError: it is no folder, or cannot be written.
    """
    folder = Path(path)
    try:
        _probe(folder)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {_why(error)}: choose another output"
        ) from error
    return folder


def run_folder(path: Path | str) -> Path:
    """`writable_folder` for what a training leaves, which a data set must not be mixed with.

    Raises:
        InputError: as ``writable_folder``, or it holds a data set.
    """
    folder = writable_folder(path)
    if (folder / "dataset.json").exists():
        raise InputError(f"{folder} holds a data set: choose another output for the run")
    return folder


def _probe(folder: Path) -> None:
    """Make a file in ``folder``, or where it would be made, and remove it.

    Nothing else is made for that: of several processes that write into one new folder, one would
    remove what another is about to use.
    """
    for place in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            place.lstat()  # also a link that leads nowhere is there, and is no folder
            break
    probe = place / f".{os.getpid()}-{threading.get_ident()}.part"
    probe.touch()
    probe.unlink(missing_ok=True)


def writable_files(*paths: Path | str | None, reading: Iterable[Path | str | None] = ()) -> None:
    """Prove that files can be written there, before hours of work for what goes into them.

    Raises:
        InputError: one is a folder or a device, lies in a folder that cannot be written, or is one
            of the files that are ``reading``.
    """
    inputs = [Path(one) for one in reading if one is not None]
    for path in (Path(one) for one in paths if one is not None):
        try:
            _check_goal(path)
            _probe(path.parent)
            same = path.exists() and any(one.exists() and path.samefile(one) for one in inputs)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {_why(error)}: choose another output"
            ) from error
        if same:
            raise InputError(
                f"cannot write {path}: it is what is read, and would be lost: choose another output"
            )


def _check_goal(path: Path) -> None:
    """What is put in the place of ``path`` would replace a device, not go through it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")


def existing_file(path: Path | str, what: str) -> Path:
    """``path``, if it is a file with something in it; ``what`` names it in the error.

    Raises:
        InputError: there is nothing, a folder, an unreadable or an empty file.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode):
            raise InputError(
                f"cannot read {what} {file}: it is a pipe or a device, which cannot be read twice: "
                "write it to a file first"
            )
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as error:
        raise InputError(f"cannot read {what} {file}: {_why(error)}: check the path") from error
    if empty:
        again = "record" if what in {"audio", "video"} else "make"
        raise InputError(f"{what} {file} is empty (0 bytes): fetch or {again} it again")
    return file


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic(path) as part, part.open("wb") as file:
        file.write(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as readable JSON to ``path``, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # A file's name may hold bytes that are no UTF-8. JSON's own escape brings them back unchanged.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write ``array`` as a ``.npy`` file under exactly this name, whole or not at all."""
    with array_writer(path, array.dtype, array.shape[1:]) as append:
        append(array)


@contextlib.contextmanager
def array_writer(
    path: Path | str, dtype: Any, row_shape: tuple[int, ...]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends rows to a ``.npy`` file, whole in the end or not there at all.

    So an array larger than memory can be written.
    """
    # np.save would do for whole arrays, but hides why a disk refuses to be written.
    if np.dtype(dtype).hasobject:
        raise ValueError("objects would have to be pickled")
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    rows = 0
    with atomic(path) as part, part.open("wb") as file:

        def write_header() -> None:  # NumPy leaves room in it for the first axis to grow
            np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, *row_shape)})

        def append(array: np.ndarray) -> None:
            nonlocal rows
            if array.shape[1:] != row_shape:
                raise ValueError(f"rows of shape {array.shape[1:]} among those of {row_shape}")
            file.write(np.ascontiguousarray(array, dtype).data)
            rows += len(array)

        write_header()
        yield append
        file.seek(0)
        write_header()


def read_array(path: Path | str, what: str) -> np.ndarray:
    """The array in a ``.npy`` file; ``what`` names the file in errors. Nothing is unpickled.

    Raises:
        InputError: missing, empty, damaged, or holding objects.
    """
    file = existing_file(path, what)
    try:
        with file.open("rb") as content:
            # Not np.load, which opens archives too. A header may also promise more than memory.
            return np.lib.format.read_array(content, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(f"{what} {file} is damaged or no .npy file: write it again") from error


def read_json(path: Path | str, what: str, remedy: str = "make it again") -> Any:
    """The JSON value in ``path``; ``what`` names the file in errors, ``remedy`` what to do.

    Raises:
        InputError: missing, empty, or not JSON.
    """
    file = existing_file(path, what)
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} {file} is damaged, it is not JSON: {remedy}") from error


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in bounded memory.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {_why(error)}: check the path") from error


def _why(error: OSError) -> str:
    if isinstance(error, FileExistsError):  # what should be a folder is a file
        return "not a directory"
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
