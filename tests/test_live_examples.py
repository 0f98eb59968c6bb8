"""The examples for LiveKit and Pipecat end a segment when it was spoken, and not before.

Neither package is needed: what the examples use of them stands here, as plain as can be.
"""

import asyncio
import importlib.util
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import se4lip
from live_heads import live_stream
from se4lip.synthesis.live_head import LiveHead

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 24_000
TONE = (9000 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE + 0.1)).astype(np.int16)
RESTED_S = 0.3  # by then resting frames lie in the outbox and in the worker


def module(monkeypatch, name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, name, made)


def example(monkeypatch, name):
    """The example's module, with a head of a few numbers in it."""
    monkeypatch.setattr(
        se4lip, "live", lambda _, rate, config: LiveHead(live_stream(rate), config), raising=False
    )
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


# --- LiveKit -------------------------------------------------------------------------------------


@dataclass
class Audio:
    data: bytes
    sample_rate: int
    num_channels: int
    count: int


@dataclass
class Video:
    width: int
    height: int
    kind: str
    data: bytes


class SegmentEnd:
    pass


@pytest.fixture
def livekit_head(monkeypatch):
    kinds = types.SimpleNamespace(RGB24="RGB24")
    rtc = types.SimpleNamespace(AudioFrame=Audio, VideoFrame=Video, VideoBufferType=kinds)
    module(monkeypatch, "livekit", rtc=rtc)
    for name in ("livekit.agents", "livekit.agents.voice"):
        module(monkeypatch, name)
    module(
        monkeypatch,
        "livekit.agents.voice.avatar",
        AudioSegmentEnd=SegmentEnd,
        AvatarOptions=lambda *numbers: numbers,
        VideoGenerator=object,
    )
    return example(monkeypatch, "livekit_head")


async def segment(frames):
    """Sound until the segment ends."""
    parts = [np.zeros(0, np.int16)]
    async for frame in frames:
        if isinstance(frame, SegmentEnd):
            return np.concatenate(parts)
        if isinstance(frame, Audio):
            parts.append(np.frombuffer(frame.data, np.int16))
    raise AssertionError("the segment never ended")


def whole(sound):
    """Whether all of the tone is in ``sound``, to the bit."""
    start = int(np.flatnonzero(sound)[0])
    return np.array_equal(sound[start : start + RATE], TONE)


def test_livekit_hears_of_the_end_when_all_was_spoken(livekit_head):
    async def story():
        async with livekit_head.HeadVideo() as video:
            frames = video.__aiter__()
            for _ in range(5):
                await anext(frames)
            await asyncio.sleep(RESTED_S)
            spoken = []
            for _ in range(2):
                await video.push_audio(Audio(TONE.tobytes(), RATE, 1, RATE))
                await video.push_audio(SegmentEnd())
                spoken.append(await asyncio.wait_for(segment(frames), 20))
            return spoken

    assert [whole(sound) for sound in asyncio.run(story())] == [True, True]


def test_livekit_hears_of_the_end_of_each_of_two_segments_and_of_no_other_rate(livekit_head):
    async def story():
        async with livekit_head.HeadVideo() as video:
            half = RATE // 2
            for part in (TONE[:half], TONE[half:]):
                await video.push_audio(Audio(part.tobytes(), RATE, 1, half))
                await video.push_audio(SegmentEnd())
            frames = video.__aiter__()
            spoken = [await asyncio.wait_for(segment(frames), 20) for _ in range(2)]
            with pytest.raises(ValueError, match="sound of 48000 Hz came, and 24000 Hz are heard"):
                await video.push_audio(Audio(TONE.tobytes(), 48_000, 1, RATE))
            return np.concatenate(spoken)

    assert whole(asyncio.run(story()))


def test_livekit_hears_of_no_end_after_an_interruption(livekit_head):
    async def story():
        async with livekit_head.HeadVideo() as video:
            await video.push_audio(Audio(TONE.tobytes(), RATE, 1, RATE))
            await video.push_audio(SegmentEnd())
            frames = video.__aiter__()
            for _ in range(4):
                await anext(frames)
            video.clear_buffer()
            return [await anext(frames) for _ in range(20)]

    assert not [one for one in asyncio.run(story()) if isinstance(one, SegmentEnd)]


def test_livekit_hears_of_the_end_of_what_follows_an_interrupted_push(livekit_head):
    """Synthesis is faster than speech, so that what is interrupted still waits to be taken."""

    async def story():
        async with livekit_head.HeadVideo() as video:
            long = np.tile(TONE, 6)
            pushing = asyncio.create_task(
                video.push_audio(Audio(long.tobytes(), RATE, 1, 6 * RATE))
            )
            frames = video.__aiter__()
            for _ in range(4):
                await anext(frames)
            assert not pushing.done()
            video.clear_buffer()
            await video.push_audio(Audio(TONE.tobytes(), RATE, 1, RATE))
            await video.push_audio(SegmentEnd())
            spoken = await asyncio.wait_for(segment(frames), 20)
            await pushing
            return spoken

    assert whole(asyncio.run(story()))


# --- Pipecat -------------------------------------------------------------------------------------


class Frame:
    pass


@dataclass
class SpokenFrame(Frame):
    audio: bytes
    sample_rate: int
    num_channels: int


@dataclass
class ImageFrame(Frame):
    image: bytes
    size: tuple[int, int]
    format: str


KINDS = {
    name: type(name, (Frame,), {})
    for name in ("CancelFrame", "EndFrame", "InterruptionFrame", "StartFrame", "TTSStoppedFrame")
}


class Processor:
    """A pipeline of one processor: what it pushes is kept in ``out``."""

    def __init__(self):
        self.out = []

    async def setup(self, setup):
        pass

    async def cleanup(self):
        pass

    async def process_frame(self, frame, direction):
        pass

    async def push_frame(self, frame, direction=None):
        self.out.append(frame)

    async def push_error(self, sentence):
        self.out.append(sentence)

    def create_task(self, work):
        return asyncio.create_task(work)

    async def cancel_task(self, task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def pipecat_head(monkeypatch):
    for name in ("pipecat", "pipecat.frames", "pipecat.processors"):
        module(monkeypatch, name)
    module(
        monkeypatch,
        "pipecat.frames.frames",
        Frame=Frame,
        OutputImageRawFrame=ImageFrame,
        TTSAudioRawFrame=SpokenFrame,
        **KINDS,
    )
    module(
        monkeypatch,
        "pipecat.processors.frame_processor",
        FrameDirection=object,
        FrameProcessor=Processor,
        FrameProcessorSetup=object,
    )
    return example(monkeypatch, "pipecat_head")


@pytest.mark.parametrize("ended_by", ["TTSStoppedFrame", "EndFrame"])
def test_pipecat_passes_the_end_on_when_all_was_spoken(ended_by, pipecat_head):
    async def story():
        head = pipecat_head.TalkingHead()
        await head.setup(types.SimpleNamespace(audio_out_sample_rate=RATE))
        await head.process_frame(KINDS["StartFrame"](), None)
        await asyncio.sleep(RESTED_S)
        await head.process_frame(SpokenFrame(TONE.tobytes(), RATE, 1), None)
        await asyncio.wait_for(head.process_frame(KINDS[ended_by](), None), 20)
        out = list(head.out)
        await head.process_frame(KINDS["CancelFrame"](), None)
        await head.cleanup()
        return out

    out = asyncio.run(story())
    end = next(i for i, frame in enumerate(out) if isinstance(frame, KINDS[ended_by]))
    spoken = [np.frombuffer(f.audio, "<i2") for f in out[:end] if isinstance(f, SpokenFrame)]
    assert sum(isinstance(frame, ImageFrame) for frame in out[:end]) > 25
    assert whole(np.concatenate(spoken))


def test_pipecat_does_not_wait_for_a_head_that_failed(pipecat_head, monkeypatch):
    def fail(*_):
        raise RuntimeError("no more")

    async def story():
        head = pipecat_head.TalkingHead()
        await head.setup(types.SimpleNamespace(audio_out_sample_rate=RATE))
        await head.process_frame(KINDS["StartFrame"](), None)
        await head.process_frame(SpokenFrame(TONE.tobytes(), 16_000, 1), None)
        monkeypatch.setattr("se4lip.synthesis.live_stream.LiveStream.draw", fail)
        await head.process_frame(SpokenFrame(TONE.tobytes(), RATE, 1), None)
        await asyncio.wait_for(head.process_frame(KINDS["TTSStoppedFrame"](), None), 5)
        await head.process_frame(KINDS["CancelFrame"](), None)
        await head.cleanup()
        return [one for one in head.out if isinstance(one, str)]

    assert asyncio.run(story()) == [
        "sound of 16000 Hz came, and 24000 Hz are heard",
        "the head failed: no more",
    ]
