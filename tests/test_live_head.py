"""A live head in time: rest, speech, interruption, slow consumers, and that everything ends."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from live_heads import PlainHead, live_stream, noise
from se4lip.audio import resample as resampling
from se4lip.synthesis.live_head import LiveConfig, LiveHead
from se4lip.synthesis.live_stream import LOOKAHEAD_FRAMES
from se4lip.types import InputError

CHUNK = 320  # 20 ms at 16 kHz


def head(rate=16_000, drawing_s=0.0, worker=None, **config) -> LiveHead:
    stream = live_stream(rate, PlainHead(drawing_s))
    return LiveHead(stream, LiveConfig(**config), worker)


async def take(head, count):
    frames = []
    async for frame in head:
        frames.append(frame)
        if len(frames) == count:
            return frames


async def speak(head, samples, chunk=CHUNK, every_s=None):
    """Push as a microphone does."""
    start = time.monotonic()
    for at in range(0, len(samples), chunk):
        await head.push(samples[at : at + chunk])
        due = start + (at + chunk) / head.sample_rate_hz
        await asyncio.sleep(max(0, due - time.monotonic()))


def test_it_rests_in_time_while_nothing_is_pushed():
    async def story():
        async with head() as live:
            start = time.monotonic()
            frames = await take(live, 15)
            return frames, time.monotonic() - start

    frames, took = asyncio.run(story())
    assert [frame.index for frame in frames] == list(range(15))
    assert all(frame.pushed is None and not frame.sound.any() for frame in frames)
    assert 14 / 25 - 0.02 < took < 14 / 25 + 0.5
    rows = [int(frame.picture[0, 1, 0]) for frame in frames]
    assert rows == list(range(15))  # it moves on
    lips = np.stack([frame.picture[0, 0] for frame in frames]).astype(int)
    assert np.abs(np.diff(lips[10:], axis=0)).max() <= 1


def test_every_pushed_sample_comes_back_once_with_a_picture():
    samples = noise(16_000)

    async def story():
        async with head() as live:
            await take(live, 3)
            speaking = asyncio.create_task(speak(live, samples))
            frames = await take(live, 40)
            await speaking
            return frames, live.skipped

    frames, skipped = asyncio.run(story())
    sound = np.concatenate([frame.sound for frame in frames])
    np.testing.assert_array_equal(sound[sound != 0], samples)
    for frame in frames:
        if frame.pushed is not None:
            assert frame.sound[-640:][0] == samples[frame.pushed]
            if frame.completed_by is None:
                assert frame.pushed > 16_000 - 640 * (3 + LOOKAHEAD_FRAMES)
            else:
                assert frame.completed_by >= frame.pushed + 640 * (2 + LOOKAHEAD_FRAMES) - 80
            parts = (frame.encoding_s, frame.waiting_s, frame.drawing_s)
            assert min(parts) >= -1e-6
    gaps = frames[-1].index + 1 - frames[0].index - len(frames)
    assert gaps == skipped


def test_speech_pushed_at_once_comes_out_as_it_sounds_when_paced():
    samples = noise(24_000)

    async def story():
        async with head(paced=True) as live:
            await take(live, 2)
            await live.push(samples)
            live.flush()
            start = time.monotonic()
            frames = await take(live, 45)
            return frames, time.monotonic() - start

    frames, took = asyncio.run(story())
    assert 44 / 25 - 0.05 < took < 44 / 25 + 0.5
    sound = np.concatenate([frame.sound for frame in frames])
    np.testing.assert_array_equal(sound[sound != 0], samples)


@pytest.mark.parametrize("chunk_s", [0.25, 0.5, 1.0])
def test_sound_in_long_chunks_has_no_silence_put_into_it(chunk_s):
    samples = noise(48_000)

    async def story():
        async with head() as live:
            await take(live, 3)
            speaking = asyncio.create_task(speak(live, samples, chunk=round(16_000 * chunk_s)))
            frames = await take(live, 60)
            await speaking
            return frames

    frames = asyncio.run(story())
    sound = np.concatenate([frame.sound for frame in frames])
    first, *_, last = np.flatnonzero(sound)
    assert last - first > 24_000
    np.testing.assert_array_equal(sound[first : last + 1], samples[: last + 1 - first])


def test_a_head_that_is_stirred_as_it_is_closed_ends_all_the_same():
    """An interruption and the end in one turn of the loop, as when a viewer is sent away."""

    async def story():
        for _ in range(20):
            async with head(patience_s=30.0) as live:
                await live.push(noise(320))
                await asyncio.sleep(0.05)  # it waits for more sound
                live.interrupt()
                async with asyncio.timeout(5):
                    await live.close()

    asyncio.run(story())


def test_all_who_wait_for_frames_hear_of_the_end():
    async def story():
        async with head() as live:

            async def watch():
                return [frame async for frame in live]

            watching = [asyncio.create_task(watch()) for _ in range(3)]
            await asyncio.sleep(0.3)
            await live.close()
            return await asyncio.wait_for(asyncio.gather(*watching), 5)

    assert sum(map(len, asyncio.run(story()))) > 2


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"size_px": 0}, "size_px is 0, but 16 to 4096 is needed"),
        ({"patience_s": float("nan")}, "patience_s is nan, but 0 to 60 is needed"),
        ({"buffer_s": -1}, "buffer_s is -1, but 0 to 3600 is needed"),
    ],
)
def test_a_head_that_cannot_live_is_refused(how, sentence):
    with pytest.raises(InputError) as wrong:
        LiveConfig(**how)
    assert str(wrong.value).startswith(sentence)


def test_an_interruption_is_heard_at_once():
    async def story():
        async with head(paced=True) as live:
            await live.push(noise(30_000))
            await take(live, 10)
            pushing = asyncio.create_task(live.push(noise(64_000)))  # more than the buffer holds
            await asyncio.sleep(0.02)
            live.interrupt()
            await asyncio.wait_for(pushing, 1)
            frames = await take(live, 12)
            await live.push(noise(3200, seed=5))
            live.flush()
            return frames, await take(live, 12)

    silent, spoken = asyncio.run(story())
    assert all(frame.pushed is None for frame in silent)
    sound = np.concatenate([frame.sound for frame in (*silent, *spoken)])
    np.testing.assert_array_equal(sound[sound != 0], noise(3200, seed=5))


@pytest.mark.parametrize("paced", [False, True])
def test_pictures_and_sound_stay_in_step_through_interruptions(paced):
    """Whatever a frame that is drawn, or waits to be taken, was about to say."""

    async def story():
        async with head(paced=paced, drawing_s=0.01) as live:
            frames, heard, pushed = [], 0, 0
            for turn in range(12):
                talk = 4_000 + 700 * turn
                saying = asyncio.create_task(live.push(noise(talk)))
                pushed += talk
                await asyncio.sleep(0.0)
                for frame in await take(live, 3 + turn % 3):
                    heard += len(frame.sound)
                    assert heard == 640 * (frame.index + 1)
                    frames.append(frame)
                await asyncio.sleep(0.007 * turn)
                live.interrupt()
                await saying
                assert live.pending == 0
            await live.push(noise(640, seed=9))
            live.flush()
            before = len(frames)
            while frames[-1].given < pushed + 640:
                frames += await take(live, 1)
            last = np.concatenate([frame.sound for frame in frames[before:]])
            return frames, last, live.skipped, pushed

    frames, last, skipped, pushed = asyncio.run(story())
    index = [frame.index for frame in frames]
    assert index == sorted(set(index))
    assert skipped == index[-1] + 1 - len(index)
    assert frames[-1].given == pushed + 640
    np.testing.assert_array_equal(last[last != 0], noise(640, seed=9))


def test_a_head_is_entered_once_and_first():
    async def story():
        live = head()
        for use in (live.push(noise(10)), anext(live)):
            with pytest.raises(
                InputError, match="this head is not open yet: enter it, as in async"
            ):
                await use
        async with live:
            assert len(await take(live, 1)) == 1
        with pytest.raises(InputError, match="this head was opened before: open another one"):
            await live.__aenter__()

    asyncio.run(story())


def test_a_slow_head_leaves_frames_out_and_does_not_fall_behind():
    async def story():
        async with head(drawing_s=0.1) as live:
            speaking = asyncio.create_task(speak(live, noise(32_000)))
            frames = []
            async for frame in live:
                if frame.pushed is not None:
                    frames.append((time.monotonic() - frame.arrived_s, frame))
                if frame.pushed is not None and frame.pushed > 26_000:
                    break
            speaking.cancel()
            return frames, live.skipped

    frames, skipped = asyncio.run(story())
    waits = [wait for wait, _ in frames]
    assert skipped >= len(frames)  # ten frames a second of twenty-five
    assert np.median(waits) < 0.1 + 0.15
    assert abs(np.mean(waits[-4:]) - np.mean(waits[2:6])) < 0.15
    sound = np.concatenate([frame.sound for _, frame in frames])
    first = frames[0][1].sound
    heard = noise(32_000)[: np.count_nonzero(sound)]
    np.testing.assert_array_equal(sound[sound != 0], heard)
    assert len(first)


def test_a_push_waits_while_too_much_lies_ahead():
    async def story():
        async with head(paced=True, buffer_s=0.5) as live:
            pushing = asyncio.create_task(live.push(noise(48_000)))
            await take(live, 10)
            ahead_s = live._work.ahead_s()
            waiting = not pushing.done()
            pushing.cancel()
            return ahead_s, waiting

    ahead_s, waiting = asyncio.run(story())
    assert waiting
    assert ahead_s < 0.6


def test_two_heads_take_turns_with_one_worker():
    counts = [0, 0]

    async def watch(live, which):
        async for _ in live:
            counts[which] += 1

    async def story():
        with ThreadPoolExecutor(1) as worker:
            slow = {"drawing_s": 0.03, "worker": worker}
            async with head(**slow) as one, head(**slow) as other:
                start = time.monotonic()
                watching = [asyncio.create_task(watch(h, i)) for i, h in enumerate((one, other))]
                await asyncio.sleep(1.2)
                for task in watching:
                    task.cancel()
                return counts, time.monotonic() - start

    (one, other), took = asyncio.run(story())
    assert 0.6 < one / other < 1.7
    assert one + other < took / 0.03 + 3


def test_closing_ends_the_iteration_the_pushes_and_the_thread():
    before = threading.active_count()

    async def story():
        live = head(paced=True, buffer_s=0.2)
        async with live:
            watching = asyncio.create_task(take(live, 1000))
            pushing = asyncio.create_task(live.push(noise(64_000)))
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(watching, 1) is None
        with pytest.raises(InputError, match=r"head is closed: open another one"):
            await asyncio.wait_for(pushing, 1)
        with pytest.raises(InputError, match=r"head is closed"):
            await live.push(noise(10))

    asyncio.run(story())
    time.sleep(0.05)
    assert threading.active_count() == before


def test_a_failing_head_tells_who_watches():
    class Torn(PlainHead):
        def pictures(self, codes, motion, size_px=None):
            if self.drawn > 1:
                raise RuntimeError("torn")
            yield from super().pictures(codes, motion, size_px)

    async def story():
        async with LiveHead(live_stream(head=Torn()), LiveConfig()) as live:
            await take(live, 50)

    with pytest.raises(RuntimeError, match="torn"):
        asyncio.run(story())


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((5, 2), np.float32), "one channel [S] is needed"),
        (np.zeros(5, np.int16), "floating point in [-1, 1] is needed"),
        (np.array([np.nan], np.float32), "NaN or infinite"),
    ],
)
def test_what_cannot_be_heard_is_refused_and_harms_nothing(samples, sentence):
    async def story():
        async with head() as live:
            with pytest.raises(InputError) as error:
                await live.push(samples)
            assert sentence in str(error.value)
            assert len(await take(live, 3)) == 3

    asyncio.run(story())


def test_pending_falls_to_nought_with_the_last_sample_and_not_with_a_resting_frame():
    samples = noise(16_000)

    async def story():
        async with head(paced=True) as live:
            await take(live, 3)
            await asyncio.sleep(0.2)  # resting frames are on their way
            await live.push(samples)
            live.flush()
            assert live.pending == 16_000
            out, seen = 0, []
            async for frame in live:
                out += np.count_nonzero(frame.sound)
                seen.append((16_000 - out, live.pending))
                if not live.pending:
                    break
            await live.push(noise(3200))
            live.interrupt()
            return seen, live.pending

    seen, after = asyncio.run(story())
    assert seen[0] == (16_000, 16_000)  # the frame in which it rested
    assert all(pending == left for left, pending in seen)
    assert after == 0


def test_a_rate_that_is_new_is_prepared_before_anybody_speaks_and_not_in_the_worker(monkeypatch):
    prepared, kernels = [], resampling._kernels

    def watched(rate_hz):
        prepared.append((rate_hz, threading.current_thread().name))
        return kernels(rate_hz)

    monkeypatch.setattr(resampling, "_kernels", watched)

    async def story():
        with ThreadPoolExecutor(1, "shared") as worker:
            async with head(rate=22_050, worker=worker) as live:
                return list(prepared), live._stream.length

    before, length = asyncio.run(story())
    assert [rate for rate, _ in before] == [22_050]
    assert not before[0][1].startswith("shared")
    assert length == 0  # what was heard for nobody left no trace
