"""Pictures that are drawn several at once, and what is asked of them: order, errors, an end."""

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from se4lip.head import lanes
from se4lip.head.lanes import in_order, lane_count


@pytest.fixture(autouse=True)
def three_lanes(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes.os, "cpu_count", lambda: 3)
    torch.set_num_threads(3)


@given(st.lists(st.floats(0, 2e-3), max_size=12))
def test_what_takes_longer_does_not_come_later(takes_s: list[float]) -> None:
    def draw(row: tuple[int, float]) -> int:
        time.sleep(row[1])
        return row[0]

    assert list(in_order(draw, enumerate(takes_s))) == list(range(len(takes_s)))


def test_the_first_has_all_lanes_and_the_others_one_each() -> None:
    assert list(in_order(lambda row: lane_count(), range(5))) == [3, 1, 1, 1, 1]
    assert lane_count() == 3


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: one picture at a time")
def test_several_are_drawn_at_once() -> None:
    together = threading.Barrier(2, timeout=20)

    def draw(row: int) -> int:
        if row:  # the first is drawn before the others begin
            together.wait()
        return row

    assert list(in_order(draw, range(5))) == [*range(5)]


def test_with_one_thread_nothing_is_drawn_before_it_is_asked_for() -> None:
    torch.set_num_threads(1)
    begun: list[int] = []
    drawn = in_order(begun.append, range(5))
    for count in range(1, 6):
        next(drawn)
        assert begun == list(range(count))


def test_no_more_than_a_few_are_drawn_ahead() -> None:
    taken = itertools.count()
    drawn = in_order(lambda row: row, (next(taken) for _ in range(1000)))
    for _ in range(10):
        next(drawn)
    assert next(taken) <= 10 + 3 + 1
    drawn.close()  # type: ignore[attr-defined]


def test_an_error_comes_where_its_picture_would() -> None:
    def draw(row: int) -> int:
        if row == 4:
            raise ValueError("no such picture")
        return row

    drawn = in_order(draw, range(8))
    assert [next(drawn) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no such picture"):
        next(drawn)
    assert list(in_order(draw, range(4))) == [0, 1, 2, 3]  # and the lanes go on drawing


def test_nothing_more_is_begun_for_who_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread is busy with a picture, the others wait for it, and their asker goes."""
    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr(lanes, "_pool", lambda process: pool)
    begun: list[int] = []
    busy, go_on = threading.Event(), threading.Event()

    def draw(row: int) -> None:
        begun.append(row)
        if row == 2:
            busy.set()
            assert go_on.wait(20)

    drawn = in_order(draw, range(1000))
    next(drawn), next(drawn)
    assert busy.wait(20)
    drawn.close()  # type: ignore[attr-defined]
    go_on.set()
    pool.shutdown()
    assert begun == [0, 1, 2]


def test_a_forked_child_goes_on_without_its_parents_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = in_order(lambda row: (row, lane_count()), range(9))
    assert [row for row, _ in (next(drawn), next(drawn))] == [0, 1]
    monkeypatch.setattr(lanes.os, "getpid", lambda: -1)
    assert [*drawn] == [(row, 3) for row in range(2, 9)]  # by whoever asks, with all lanes
