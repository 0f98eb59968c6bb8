"""A se4lip head as the avatar of a LiveKit agent: what the agent says goes in, sound and pictures
in step come out.

    pip install . livekit-agents
    async with HeadVideo() as video_gen:
        runner = AvatarRunner(room, audio_recv=..., video_gen=video_gen, options=OPTIONS)

Run with livekit-agents 1.8.9: ``python examples/livekit_head.py`` pushes a tone and counts what
comes out. Not run: a room, a server or an agent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator

import se4lip

RATE_HZ = 24_000
OPTIONS = AvatarOptions(256, 256, 25, RATE_HZ, 1)


class HeadVideo(VideoGenerator):
    """``async with HeadVideo() as video_gen`` opens the head and closes it."""

    def __init__(self, avatar: str = "grid-s1"):
        self._head = se4lip.live(avatar, RATE_HZ, config=se4lip.LiveConfig(paced=True))
        self._pushed, self._ends = 0, deque()  # samples so far, and at each end of a segment

    async def __aenter__(self) -> "HeadVideo":
        await self._head.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._head.close()

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        if isinstance(frame, AudioSegmentEnd):
            self._head.flush()
            self._ends.append(self._pushed)
        elif frame.sample_rate != RATE_HZ:
            raise ValueError(f"sound of {frame.sample_rate} Hz came, and {RATE_HZ} Hz are heard")
        else:
            samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels).mean(1)
            self._pushed += len(samples)
            await self._head.push((samples / 32768).astype(np.float32))

    def clear_buffer(self) -> None:
        self._head.interrupt()
        self._ends.clear()

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        async for frame in self._head:
            height, width, _ = frame.picture.shape
            yield rtc.VideoFrame(width, height, rtc.VideoBufferType.RGB24, frame.picture.tobytes())
            if frame.pushed is not None or frame.sound.any():
                sound = np.rint(32768 * frame.sound).clip(-32768, 32767).astype(np.int16).tobytes()
                yield rtc.AudioFrame(sound, RATE_HZ, 1, len(frame.sound))
            while self._ends and self._ends[0] <= frame.given:  # all that was pushed until then
                self._ends.popleft()
                yield AudioSegmentEnd()


async def main() -> None:
    tone = (0.3 * 32767 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)
    pictures, sound_s = 0, 0.0
    async with HeadVideo() as video_gen:
        await video_gen.push_audio(rtc.AudioFrame(tone.tobytes(), RATE_HZ, 1, RATE_HZ))
        await video_gen.push_audio(AudioSegmentEnd())
        async for frame in video_gen:
            pictures += isinstance(frame, rtc.VideoFrame)
            sound_s += frame.duration if isinstance(frame, rtc.AudioFrame) else 0
            if isinstance(frame, AudioSegmentEnd):
                break
    print(f"{pictures} pictures, {sound_s:.2f} s of sound")


if __name__ == "__main__":
    asyncio.run(main())
