"""Sources prepared one by one, or by several processes side by side."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from se4lip.face.tracker import Tracker
from se4lip.io.dataset import SourceEntry
from se4lip.prepare.source import Job, prepare_source
from se4lip.types import InputError

TrackerFactory = Callable[[], Tracker]

_worker_tracker: Tracker
_worker_news: Any


def worked(
    jobs: Sequence[Job],
    tracker: TrackerFactory,
    first_tracker: Tracker,
    workers: int,
    on_progress: Callable[[float], None],
) -> Generator[SourceEntry]:
    """The finished sources, as they come. ``tracker`` makes one in each worker process;
    ``first_tracker`` serves where this process does the work. ``on_progress`` is told the share
    done, by the size of the recordings.

    Raises:
        InputError: the data set cannot be written, or a worker was killed.
    """
    weights = [max(1, job.recording.stat().st_size) for job in jobs]
    shares = [0.0] * len(jobs)

    def advanced(index: int, share: float) -> None:
        shares[index] = max(shares[index], share)
        on_progress(sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights))

    if workers <= 1 or len(jobs) <= 1:
        for index, job in enumerate(jobs):
            entry = prepare_source(job, first_tracker, functools.partial(advanced, index))
            advanced(index, 1.0)
            yield entry
        return
    before = set(multiprocessing.active_children())  # of whoever called
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start_worker, initargs=(tracker, news)
    )
    try:
        pending = {pool.submit(_work_in_worker, i, job): i for i, job in enumerate(jobs)}
        while pending:
            finished, _ = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
            while not news.empty():
                advanced(*news.get())
            for future in finished:
                index = pending.pop(future)
                entry = future.result()
                advanced(index, 1.0)
                yield entry
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for want of memory: run the same command again "
            "with fewer --workers, it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()


def _start_worker(tracker: TrackerFactory, news: Any) -> None:
    global _worker_tracker, _worker_news
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Control-C ends workers without a traceback
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker_tracker, _worker_news = tracker(), news


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_in_worker(index: int, job: Job) -> SourceEntry:
    return prepare_source(job, _worker_tracker, lambda share: _worker_news.put((index, share)))
