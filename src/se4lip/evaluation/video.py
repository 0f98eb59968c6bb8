"""The verb ``evaluate video``: everything that can be measured of a talking head, in one report.

The real video, where there is one, is judged by the same judges in the same table: it is the
ceiling. Videos are streamed; what is kept of them are landmarks and sound.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from se4lip.audio.timebase import frame_count
from se4lip.evaluation.sync import sync_figures
from se4lip.evaluation.watch import LENGTHS_MAY_DIFFER_FRAMES, Watched, same_length, watch
from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.face.tracker import Tracker
from se4lip.io import judges
from se4lip.io.phones import read_phones
from se4lip.io.pictures import contact_sheet
from se4lip.io.video import probe_video, read_heard
from se4lip.metrics import closure, image, landmarks
from se4lip.metrics.lpips import Backbone, Lpips
from se4lip.metrics.report import Figure, Report, compared, judged, mean_known
from se4lip.types import SAMPLE_RATE_HZ, InputError

_BATCH_FRAMES = 8
_SHEET_COLUMNS = 8
_SAME_SOUND = 0.5  # highest correlation of the waves at any lag; of other speech it is about 0.1
_COMPARED = 30 * SAMPLE_RATE_HZ

Samples = Float32[np.ndarray, " S"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Judges that come from elsewhere. The report names those that are not here.

    Attributes:
        lpips: Backbone of LPIPS.
        lpips_backbone: torchvision's weights of it.
        lpips_heads: The authors' alex.pth or vgg.pth.
        syncnet: syncnet_v2.model, or the same tensors as safetensors.
        encoder: SE4Lip weights for the sync figures; the shipped ones by default.
        judge: Weights of the second judge; the shipped ones by default.
        fetch: Download published weights that are not here (alex: 300 MB, vgg: 580 MB).
    """

    lpips: Backbone = "alex"
    lpips_backbone: Path | None = None
    lpips_heads: Path | None = None
    syncnet: Path | None = None
    encoder: Path | None = None
    judge: Path | None = None
    fetch: bool = False


def evaluate_video(
    predicted: Path,
    reference: Path | None = None,
    audio: Path | None = None,
    phones: Path | None = None,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    tracker: Tracker,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[Report, UInt8[np.ndarray, "H W 3"]]:
    """Judge ``predicted``, against ``reference`` frame by frame where one is given.

    ``audio`` is what it should say, if that is not its own soundtrack: its first sample belongs to
    the first frame. ``phones`` is a forced alignment of that sound (``io.phones``). Also returns a
    sheet of pictures of both. ``on_progress`` is told the share of the videos that was looked at,
    which is most of the work.

    Raises:
        InputError: a file that cannot be read, videos of different length, or no face in any frame
            of ``predicted`` and no ``reference``, so that not even pictures can be compared.
    """
    said = None if audio is None else read_heard(audio).samples
    times = [] if phones is None else [closure.Phone(*row) for row in read_phones(phones)]
    videos = 1 if reference is None else 2
    if reference is not None:
        probe_video(reference)  # what cannot be read is told before the work
    ours, real = watch(predicted, tracker, lambda share: on_progress(share / videos)), None
    if said is not None:
        ours = replace(ours, samples=said)
    notes = []
    if said is not None and abs(frame_count(len(said)) - len(ours)) > LENGTHS_MAY_DIFFER_FRAMES:
        notes.append(
            f"{audio} lasts {frame_count(len(said))} frames, {predicted} {len(ours)}: where the "
            "sound is over, nobody speaks"
        )
    if ours.track is None:
        if reference is None:
            raise InputError(
                f"no face in any frame of {predicted}: give a video of a face, or --reference REAL "
                "to compare the pictures alone"
            )
        notes.append(f"no face in any frame of {predicted}: only the pictures are compared")
    if reference is not None:
        real = watch(reference, tracker, lambda share: on_progress((1 + share) / videos))
        if len(ours) != len(real):
            ours, real, note = same_length(ours, real)
            notes.append(note)
        if ours.samples is None and real.samples is not None:
            ours = replace(ours, samples=real.samples)
            notes.append(f"{predicted} has no sound: it is judged with that of {reference}")
        if real.samples is None and said is not None:
            real = replace(real, samples=said)
    says_other = said is not None and real is not None and not _alike(said, real.sound())
    figures = (
        *_pictures(ours, real, config),
        *_lips(ours, real, says_else=said is not None),
        *_closure(ours, real, times, says_other),
        *sync_figures(ours, real, config.encoder, config.judge, config.syncnet, config.fetch),
    )
    notes += _unheard(ours)
    notes += _stand_ins(config)
    names = str(predicted), None if reference is None else str(reference)
    return Report(*names, len(ours), figures, tuple(notes)), _sheet(ours, real)


# --- the figures: key, label, which is better, how it is measured --------------------------------


def _pictures(ours: Watched, real: Watched | None, config: EvaluateConfig) -> Iterator[Figure]:
    compare = functools.cache(_compare)
    lpips = functools.cache(functools.partial(_lpips, config))
    mean = functools.partial(mean_known, infinite=True)
    backbone = config.lpips
    yield from compared(
        ours,
        real,
        (
            ("psnr_db", lambda a, b: mean(compare(a, b)["psnr"])),
            ("ssim", lambda a, b: mean(compare(a, b)["ssim"])),
            ("psnr_mouth_db", lambda a, b: mean(compare(a, b)["psnr_mouth"])),
            ("ssim_mouth", lambda a, b: mean(compare(a, b)["ssim_mouth"])),
            (f"lpips_{backbone}", lambda a, b: mean(lpips(a, b))),
        ),
    )


def _lips(ours: Watched, real: Watched | None, says_else: bool) -> Iterator[Figure]:
    yield from judged(ours, real, (("face_seen", lambda v: float(v.seen.mean())),))
    yield from compared(
        ours,
        real,
        (
            ("lmd_px256", lambda a, b: landmarks.lip_distance_px256(*_points_framed_alike(a, b))),
            (
                "lmd_head_aligned_px256",
                lambda a, b: landmarks.lip_distance_head_aligned_px256(a.points(), b.points()),
            ),
            ("aperture_correlation", lambda a, b: _correlation(landmarks.lip_aperture, a, b)),
            ("width_correlation", lambda a, b: _correlation(landmarks.lip_width, a, b)),
            ("blendshape_error", lambda a, b: landmarks.blendshape_error(a.shapes(), b.shapes())),
        ),
    )
    # Where both say the same, on the same frames: a re-encoded soundtrack is not silent in quite
    # the same ones.
    theirs = ours if real is None or real.samples is None else real

    def heard(video: Watched) -> np.ndarray:
        return (video if says_else else theirs).speaking()

    yield from judged(
        ours,
        real,
        (
            ("jitter_px256", lambda v: landmarks.jitter_px256(v.points())),
            ("silent_motion_px256", lambda v: landmarks.silent_motion_px256(v.points(), heard(v))),
            (
                "silent_moving_share",
                lambda v: mean_known(landmarks.moves_in_silence(v.points(), heard(v))),
            ),
        ),
    )


def _closure(
    ours: Watched, real: Watched | None, phones: list[closure.Phone], says_other: bool
) -> Iterator[Figure]:
    def counts(video: Watched) -> closure.ClosureCounts:
        if video is real and says_other:
            raise InputError("says something else than the sound given, whose phones these are")
        if not phones:
            raise InputError("needs the times of the phones: pass --phones FILE")
        if real is None:
            raise InputError("needs --reference, to know how this person's closed lips look")
        threshold = closure.closed_below(landmarks.lip_aperture(real.points()))
        return closure.count_closures(landmarks.lip_aperture(video.points()), phones, threshold)

    yield from judged(
        ours,
        real,
        (
            ("closure_f1", lambda v: counts(v).f1),
            ("closure_recall", lambda v: counts(v).recall),
            ("closure_precision", lambda v: counts(v).precision),
        ),
    )


def _alike(one: Samples, two: Samples) -> bool:
    """Whether two sounds are one, perhaps coded anew, at another level, early or late."""
    waves = [sound[:_COMPARED].astype(np.float64) for sound in (one, two)]
    lengths = [float(np.linalg.norm(wave)) for wave in waves]
    if not all(lengths):
        return not any(lengths)
    size = sum(map(len, waves))
    first, second = (np.fft.rfft(wave, size) for wave in waves)
    at_lags = np.fft.irfft(first * second.conj(), size)
    return bool(np.abs(at_lags).max() > _SAME_SOUND * lengths[0] * lengths[1])


# --- how they are measured -----------------------------------------------------------------------


def _compare(ours: Watched, real: Watched) -> dict[str, list[float]]:
    """PSNR and SSIM of every frame, of the whole picture and of the real video's mouth."""
    _framed_alike(ours, real)
    values: dict[str, list[float]] = {k: [] for k in ("psnr", "ssim", "psnr_mouth", "ssim_mouth")}
    boxes = torch.full((len(real), 4), torch.nan)
    if real.track is not None:
        boxes = torch.from_numpy(landmarks.mouth_boxes_px(real.points()))
    for start, a, b in _batches(ours, real):
        mask = image.box_mask(boxes[start : start + len(a)], a.shape[2], a.shape[3])
        values["psnr"] += image.psnr(a, b, 1.0).tolist()
        values["ssim"] += image.ssim(a, b, 1.0).tolist()
        values["psnr_mouth"] += image.psnr(a, b, 1.0, mask).tolist()
        values["ssim_mouth"] += image.ssim(a, b, 1.0, mask).tolist()
    return values


@torch.inference_mode()
def _lpips(config: EvaluateConfig, ours: Watched, real: Watched) -> list[float]:
    _framed_alike(ours, real)
    judge = lpips_network(config)
    return [value for _, a, b in _batches(ours, real) for value in judge(a, b).tolist()]


def lpips_network(config: EvaluateConfig) -> Lpips:
    """Raises: InputError where its weights are not here, or are none."""
    network = judges.find_published(
        judges.LPIPS_BACKBONES[config.lpips], config.lpips_backbone, config.fetch
    )
    heads = judges.find_published(
        judges.LPIPS_HEADS[config.lpips], config.lpips_heads, config.fetch
    )
    return Lpips.from_published(
        config.lpips, judges.read_tensors(network), judges.read_tensors(heads)
    )


def _batches(ours: Watched, real: Watched) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Number of the first frame, and pictures of both."""
    pairs = zip(ours.pictures(), real.pictures(), strict=True)
    for start in itertools.count(0, _BATCH_FRAMES):
        batch = list(itertools.islice(pairs, _BATCH_FRAMES))
        if not batch:
            return
        a, b = (image.pictures(np.stack(side)) for side in zip(*batch, strict=True))
        yield start, a, b


def _framed_alike(a: Watched, b: Watched) -> None:
    if (a.width_px, a.height_px) != (b.width_px, b.height_px):
        raise InputError(
            f"{a.path} is {a.width_px}x{a.height_px}, {b.path} {b.width_px}x{b.height_px}: "
            "bring both to the same framing"
        )


def _points_framed_alike(a: Watched, b: Watched) -> tuple[np.ndarray, np.ndarray]:
    _framed_alike(a, b)
    return a.points(), b.points()


def _correlation(shape: Callable[[np.ndarray], np.ndarray], a: Watched, b: Watched) -> float:
    return landmarks.correlation(shape(a.points()), shape(b.points()))


def _unheard(video: Watched) -> Iterator[str]:
    """A note on sound that is there and in which nobody is heard: all of it counts as silence."""
    if video.samples is not None and video.samples.any() and not video.speaking().any():
        yield (
            f"nobody is heard speaking in {video.path}, whose sound is too low or too even: all of "
            "it counts as silence"
        )


def _stand_ins(config: EvaluateConfig) -> Iterator[str]:
    """Notes on judges whose weights are not, byte for byte, the published ones."""
    for file, path in (
        (judges.LPIPS_BACKBONES[config.lpips], config.lpips_backbone),
        (judges.LPIPS_HEADS[config.lpips], config.lpips_heads),
        (judges.SYNCNET, config.syncnet),
    ):
        try:
            note = judges.deviation(file, judges.find_published(file, path))
        except InputError:
            continue  # the figure itself says so
        if note:
            yield note


def _sheet(ours: Watched, real: Watched | None) -> UInt8[np.ndarray, "H W 3"]:
    """Whole pictures and mouths at moments spread over the video, both videos."""
    moments = set(np.linspace(0, len(ours) - 1, min(_SHEET_COLUMNS, len(ours))).round().astype(int))
    rows = []
    for name, video in (("predicted", ours), ("real", real)):
        if video is None:
            continue
        frames = [frame for t, frame in enumerate(video.pictures()) if t in moments]
        rows.append((f"{name}: {video.path.name}", [_small(frame) for frame in frames]))
        if video.track is not None:
            where = image_from_lips_transforms(video.track)[sorted(moments)]
            rows.append((f"{name}: mouth", list(crop_lips(frames, where, 128))))
    return contact_sheet(rows)


def _small(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    step = max(1, -(-max(frame.shape[:2]) // 256))
    return np.ascontiguousarray(frame[::step, ::step])
