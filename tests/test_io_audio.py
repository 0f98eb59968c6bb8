"""Any sound becomes 16 kHz mono, in its own time, or is refused in one sentence."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import flash, onset_s, record, tone, wav
from se4lip.io.audio import _on_one_clock, _placed, iter_speech, read_speech, write_wav
from se4lip.types import InputError, Speech


def power_db(samples, rate_hz, hz):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    near = np.abs(frequencies - hz) < 30
    return 10 * np.log10((spectrum[near] ** 2).sum() / (spectrum**2).sum())


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_comes_at_16_khz_in_time(rate_hz, tmp_path):
    samples = (tone(2, rate_hz, 0.5) * 32767).astype(np.int16)
    speech = read_speech(wav(tmp_path / "a.wav", samples, rate_hz))
    assert speech.sample_rate_hz == 16_000
    assert len(speech.samples) == 32_000
    assert onset_s(speech.samples) == pytest.approx(0.5, abs=1e-3)
    assert power_db(speech.samples[10_000:30_000], 16_000, 1000) > -0.1


def test_eight_bits_are_read_with_their_own_zero(tmp_path):
    samples = np.rint(tone(1, 16_000) * 127 + 128).astype(np.uint8)
    speech = read_speech(wav(tmp_path / "a.wav", samples, 16_000, bits=8))
    np.testing.assert_allclose(speech.samples, tone(1, 16_000), atol=1 / 64)


@pytest.mark.parametrize("codec", ["flac", "aac", "libmp3lame", "libopus", "ac3"])
def test_common_codecs_are_read(codec, tmp_path):
    suffix = {"aac": "m4a", "libmp3lame": "mp3", "libopus": "ogg"}.get(codec, codec)
    path = record(tmp_path / f"a.{suffix}", None, sound=tone(2, 48_000, 1.0), audio_codec=codec)
    assert onset_s(read_speech(path).samples) == pytest.approx(1.0, abs=0.05)  # MP3: its delay


def test_stereo_is_averaged(tmp_path):
    left = tone(1, 16_000)
    both = np.stack([left, np.zeros_like(left)], 1)
    speech = read_speech(wav(tmp_path / "a.wav", both, 16_000))
    np.testing.assert_allclose(speech.samples, left / 2, atol=1e-4)


def test_six_channels_keep_a_voice_in_the_centre(tmp_path):
    six = np.zeros((48_000, 6), np.float32)
    six[:, 2] = tone(1, 48_000)
    speech = read_speech(wav(tmp_path / "a.wav", six, 48_000))
    assert len(speech.samples) == 16_000
    assert np.abs(speech.samples).max() > 0.08  # six equals: the header names no channels
    surround = record(tmp_path / "a.m4a", None, sound=np.ascontiguousarray(six.T))
    assert np.abs(read_speech(surround).samples).max() > 0.1


@pytest.mark.parametrize("channels", [7, 8, 12, 64])
def test_any_number_of_channels_that_ffmpeg_can_convert(channels, tmp_path):
    many = np.zeros((16_000, channels), np.float32)
    many[:, 0] = tone(1, 16_000)
    heard = read_speech(wav(tmp_path / "a.wav", many, 16_000)).samples
    np.testing.assert_allclose(heard, tone(1, 16_000) / channels, atol=1e-6)


def test_more_channels_than_ffmpeg_converts_are_refused(tmp_path):
    path = wav(tmp_path / "a.wav", np.zeros((1_000, 65), np.int16), 16_000)
    assert refused(path) == (
        f"the sound of {path} has 65 channels, more than FFmpeg can convert: give a file with "
        "fewer of them"
    )


def test_recordings_chained_in_one_file_are_heard_one_after_the_other(tmp_path):
    parts = [
        record(tmp_path / f"{at}.ogg", None, sound=tone(length, 48_000, at), audio_codec="libopus")
        for length, at in ((3, 2.0), (5, 4.5))
    ]
    path = tmp_path / "chain.ogg"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples = read_speech(path).samples
    assert len(samples) == pytest.approx(8 * 16_000, abs=320)
    first, second = samples[: 3 * 16_000], samples[3 * 16_000 :]
    assert onset_s(first) == pytest.approx(2.0, abs=0.01)
    assert onset_s(second) == pytest.approx(4.5, abs=0.01)


def laid(*stamped, origin_s=None):
    """Which tenths of a second come out, of blocks of a tenth with these stamps; 0 is silence."""
    blocks = [(time_s, np.full(10, n + 1, np.float32)) for n, time_s in enumerate(stamped)]
    out = np.concatenate(
        list(_placed(_on_one_clock(blocks, 100, origin_s is None, "a"), 100, origin_s, "a"))
    )
    return out[::10].astype(int).tolist()


def test_one_wild_time_stamp_moves_nothing():
    steady = [n / 10 for n in range(40)]
    for wild in (0.1, 9.0, 100.0):
        stamps = [*steady[:25], wild, *steady[26:]]
        assert laid(*stamps) == laid(*stamps, origin_s=0.0) == list(range(1, 41))


def test_a_pause_is_silence_and_another_clock_goes_on_where_the_first_ended():
    first, pause = [0.0, 0.1, 0.2], [2.0, 2.1]
    assert laid(*first, *pause) == [1, 2, 3, *[0] * 17, 4, 5]
    long = [n / 10 for n in range(30)]
    assert laid(*long, 0.0, 0.1, 0.2) == list(range(1, 34))
    with pytest.raises(InputError, match=r"the clock of the sound of a goes back by 3.0 s"):
        laid(*long, 0.0, 0.1, 0.2, origin_s=0.0)


def test_channels_that_cancel_each_other_are_no_silence(tmp_path):
    voice = (tone(1, 16_000) * 20_000).astype(np.int16)
    opposite = wav(tmp_path / "a.wav", np.stack((voice, -voice), 1), 16_000)
    with pytest.raises(InputError) as error:
        read_speech(opposite)
    assert str(error.value) == (
        f"the channels of {opposite} cancel each other when they are added up: give a file with "
        "one of them, as with ffmpeg -i FILE -af pan=mono|c0=c0"
    )
    quieter = wav(tmp_path / "b.wav", np.stack((voice, -(voice // 2)), 1), 16_000)
    assert np.abs(read_speech(quieter).samples).max() > 0.02
    silent = wav(tmp_path / "c.wav", np.zeros((16_000, 2), np.int16), 16_000)
    assert not read_speech(silent).samples.any()


def test_a_voice_in_both_channels_keeps_its_loudness(tmp_path):
    both = np.stack([0.9 * tone(1, 16_000) / 0.5] * 2, 1)
    speech = read_speech(wav(tmp_path / "a.wav", both, 16_000))
    np.testing.assert_allclose(speech.samples, both[:, 0], atol=1e-4)


def test_a_length_written_to_a_pipe_is_no_promise(tmp_path):
    path = wav(tmp_path / "a.wav", (tone(1, 16_000) * 32767).astype(np.int16), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_speech(path).samples) == 16_000


@pytest.mark.parametrize(("bytes_a_second", "align"), [(0, 2), (1, 2), (64_000, 2), (32_000, 1)])
def test_what_a_header_says_twice_may_be_wrong_once(bytes_a_second, align, tmp_path):
    path = wav(tmp_path / "a.wav", (tone(1, 16_000) * 32767).astype(np.int16), 16_000)
    content = bytearray(path.read_bytes())
    content[28:34] = bytes_a_second.to_bytes(4, "little") + align.to_bytes(2, "little")
    path.write_bytes(content)
    assert len(read_speech(path).samples) == 16_000
    path.write_bytes(content[:16_044])
    assert "1.00 s are promised and 0.50 s of them are missing" in refused(path)


@given(rate_hz=st.integers(4_000, 192_000), samples=st.integers(1, 60_000))
@settings(max_examples=60, deadline=None)
def test_no_sample_is_lost_at_any_rate(rate_hz, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("rate") / "a.wav"
    content = np.random.default_rng(samples).integers(-9_000, 9_000, samples, np.int16)
    speech = read_speech(wav(path, content, rate_hz))
    assert len(speech.samples) == -(-samples * 16_000 // rate_hz)


@pytest.mark.parametrize("rate_hz", [1, 24, 384_001])
def test_a_rate_that_no_sound_has_is_refused(tmp_path, rate_hz):
    file = wav(tmp_path / "a.wav", np.zeros(100, np.int16), rate_hz)
    with pytest.raises(InputError) as error:
        read_speech(file)
    assert str(error.value) == (
        f"the header of {file} says that its sound has {rate_hz} samples a second, but 25 to "
        "384000 are needed: convert it to 48000 Hz with the rate that is true"
    )


def test_pieces_make_the_whole(tmp_path):
    path = wav(tmp_path / "a.wav", (tone(3, 44_100, 1) * 32767).astype(np.int16), 44_100)
    pieces = [piece.samples for piece in iter_speech(path, 0.25)]
    assert {len(piece) for piece in pieces[:-1]} == {4000}
    np.testing.assert_array_equal(np.concatenate(pieces), read_speech(path).samples)


def test_long_sound_is_read_in_bounded_memory(tmp_path):
    # A tenth of three hours, 8-bit: 8.6 MB on disk, 69 MB as 16 kHz floats.
    path = wav(tmp_path / "a.wav", np.full(8000 * 1080, 100, np.uint8), 8_000, bits=8)
    code = f"""
import resource
from se4lip.io.audio import iter_speech
next(iter_speech({str(path)!r}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(piece.samples) for piece in iter_speech({str(path)!r}))
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    samples, grown_kb = map(int, done.stdout.split())
    assert samples == 16_000 * 1080
    assert grown_kb < 20_000


def test_overshoot_is_clipped_and_a_wrong_scale_refused(tmp_path):
    loud = tone(1, 16_000) * 3
    speech = read_speech(wav(tmp_path / "a.wav", loud.astype(np.float32), 16_000))
    assert np.abs(speech.samples).max() == 1
    path = wav(tmp_path / "b.wav", (loud * 20_000).astype(np.float32), 16_000)
    assert refused(path) == (
        f"{path} holds samples as large as 30000, but floating point sound must lie in [-1, 1]: "
        "scale it first"
    )


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        read_speech(path)
    return str(caught.value)


def test_unusable_sound_is_refused_in_a_sentence(tmp_path):
    missing = tmp_path / "missing.wav"
    assert refused(missing) == (
        f"cannot read audio {missing}: no such file or directory: check the path"
    )
    assert refused(tmp_path) == f"cannot read audio {tmp_path}: is a directory: check the path"
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert refused(empty) == f"audio {empty} is empty (0 bytes): fetch or record it again"
    text = tmp_path / "text.wav"
    text.write_text("no sound here\n" * 50)
    assert refused(text) == (
        f"audio {text} cannot be opened, it is damaged, cut short or no audio file: "
        "fetch or record it again"
    )
    none = wav(tmp_path / "none.wav", np.zeros(0, np.int16), 16_000)
    assert refused(none) == f"{none} holds no audio samples: fetch or record it again"
    nan = tone(1, 16_000)
    nan[777] = np.nan
    broken = wav(tmp_path / "nan.wav", nan, 16_000)
    assert refused(broken) == f"{broken} holds NaN or infinite samples: repair the recording first"
    pictures = record(tmp_path / "mute.mp4", flash([0, 0.04], 0), [0, 0.04])
    assert refused(pictures) == f"{pictures} has no sound: give a file with an audio track"
    unknown = wav(tmp_path / "unknown.wav", np.ones(1000, np.int16), 16_000)
    content = bytearray(unknown.read_bytes())
    content[20:22] = b"\x77\x77"
    unknown.write_bytes(content)
    assert refused(unknown) == (
        f"the sound of {unknown} is coded in a way that FFmpeg does not know: convert it with the "
        "program that made it"
    )


def test_cut_short_sound_is_refused(tmp_path):
    path = wav(tmp_path / "a.wav", (tone(3, 16_000) * 32767).astype(np.int16), 16_000)
    path.write_bytes(path.read_bytes()[:32_044])
    assert refused(path) == (
        f"{path} is cut short: 3.00 s are promised and 2.00 s of them are missing: "
        "fetch or record it again"
    )
    flac = record(tmp_path / "a.flac", None, sound=tone(3, 48_000, 0), audio_codec="flac")
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    said = refused(flac)
    assert "is cut short" in said or "is damaged" in said
    header = wav(tmp_path / "b.wav", np.ones(1000, np.int16), 16_000)
    header.write_bytes(header.read_bytes()[:20])
    assert refused(header).startswith(f"audio {header} cannot be opened")


def test_written_wav_reads_back(tmp_path):
    samples = tone(1, 16_000, 0.25)
    write_wav(tmp_path / "a.wav", Speech(samples))
    np.testing.assert_allclose(read_speech(tmp_path / "a.wav").samples, samples, atol=2 / 32768)
    pieces = (Speech(samples[a : a + 999]) for a in range(0, len(samples), 999))
    write_wav(tmp_path / "b.wav", pieces)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    nothing = Speech(np.zeros(0, np.float32))
    write_wav(tmp_path / "c.wav", (nothing, Speech(samples), nothing))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "c.wav").read_bytes()


def test_no_sound_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"there is no sound to write to .*: give at least one"):
        write_wav(tmp_path / "a.wav", [])
    with pytest.raises(InputError, match="there is no sound to write"):
        write_wav(tmp_path / "a.wav", Speech(np.zeros(0, np.float32)))
    assert list(tmp_path.iterdir()) == []
