"""A se4lip head in a Pipecat pipeline: speech from any TTS service goes in, the same speech and the
pictures that belong to it come out, in step.

    pip install . pipecat-ai
    Pipeline([transport.input(), stt, ..., tts, TalkingHead("grid-s1"), transport.output()])

with a transport whose ``video_out_enabled`` is set to 256x256.

Run with pipecat-ai 1.14.0: ``python examples/pipecat_head.py`` sends a tone through a pipeline that
holds only this processor and counts what comes out. Not run: any transport or service.
"""

import asyncio
import contextlib

import numpy as np
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

import se4lip


class TalkingHead(FrameProcessor):
    def __init__(self, avatar: str = "grid-s1", **how):
        super().__init__(**how)
        self._avatar = avatar
        self._open = contextlib.AsyncExitStack()
        self._said = asyncio.Event()  # all that was pushed came out

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        self._rate = setup.audio_out_sample_rate
        config = se4lip.LiveConfig(paced=True)  # synthesis is faster than speech
        head = se4lip.live(self._avatar, self._rate, config=config)
        self._head = await self._open.enter_async_context(head)

    async def cleanup(self) -> None:
        await self._open.aclose()
        await super().cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            if frame.sample_rate != self._rate:
                heard = f"sound of {frame.sample_rate} Hz came, and {self._rate} Hz are heard"
                return await self.push_error(heard)
            samples = np.frombuffer(frame.audio, "<i2").reshape(-1, frame.num_channels).mean(1)
            self._said.clear()
            await self._head.push((samples / 32768).astype(np.float32))
            return  # it goes on with its pictures
        if isinstance(frame, InterruptionFrame):
            self._head.interrupt()
        elif isinstance(frame, (TTSStoppedFrame, EndFrame)):
            self._head.flush()
            if self._head.pending:
                await self._said.wait()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._showing = self.create_task(self._show())
        elif isinstance(frame, (EndFrame, CancelFrame)):
            await self.cancel_task(self._showing)

    async def _show(self) -> None:
        try:
            await self._shown()
        except Exception as error:
            await self.push_error(f"the head failed: {error}")
        finally:
            self._said.set()  # nobody waits for what will not come

    async def _shown(self) -> None:
        async for frame in self._head:
            height, width, _ = frame.picture.shape
            image = OutputImageRawFrame(frame.picture.tobytes(), (width, height), "RGB")
            speaking = frame.pushed is not None or frame.sound.any()
            image.sync_with_audio = bool(speaking)
            await self.push_frame(image)
            if speaking:
                sound = np.rint(32768 * frame.sound).clip(-32768, 32767).astype("<i2").tobytes()
                await self.push_frame(TTSAudioRawFrame(sound, self._rate, 1))
            if not self._head.pending:
                self._said.set()


async def main() -> None:
    from pipecat.tests.utils import run_test

    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(24_000) / 24_000)
    speech = TTSAudioRawFrame((tone * 32767).astype("<i2").tobytes(), 24_000, 1)
    down, _ = await run_test(
        TalkingHead(), frames_to_send=[speech, TTSStoppedFrame()], start_timeout=60
    )
    sound = sum(frame.num_frames for frame in down if isinstance(frame, TTSAudioRawFrame))
    pictures = sum(isinstance(frame, OutputImageRawFrame) for frame in down)
    print(f"{pictures} pictures, {sound / 24_000:.2f} s of sound")


if __name__ == "__main__":
    asyncio.run(main())
