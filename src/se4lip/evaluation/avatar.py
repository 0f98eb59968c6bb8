"""The verb ``evaluate avatar``: rendered beside real, on takes the avatar was not made from.

Everything but the mouth is driven by the real video: head, torso, eyes and look are tracked in it,
as they are in training. The mouth is driven by the sound alone, or, to tell the drawing's errors
from the speech's, by the real mouth.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.evaluation.lips_of_head import lip_landmarks
from se4lip.evaluation.plots import Curve, curves_picture
from se4lip.evaluation.rendered_takes import Rendered, Tally, beside
from se4lip.evaluation.video import EvaluateConfig
from se4lip.face.follow import follow_every_face
from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.face.tracker import Tracker
from se4lip.io.credentials import Origin
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.phones import read_phones
from se4lip.io.pictures import contact_sheet
from se4lip.metrics import closure
from se4lip.metrics.landmarks import lip_aperture
from se4lip.train.avatar_material import Take, framed_pictures, motion_of, sliced, takes_of
from se4lip.train.devices import chosen_device
from se4lip.train.listener import Listener, listener_of_avatar
from se4lip.train.split import Split
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, InputError, at_least_one

Driver = Literal["speech", "real mouth"]

_SHEET_COLUMNS = 8


@dataclass(frozen=True)
class AvatarReport:
    """Means over frames, the frames of all takes together; jitter, motion in silence and the
    confidence and distance of the encoder and of SyncNet are means over takes, their offsets
    medians. ``real_`` is the real video under the same judge. A figure that could not be computed
    is NaN, and ``not_computed`` says why.

    ``frames_learned`` counts those that the avatar learned from, as far as its file says.
    ``silent_moving_share_told`` is what the head's mouth codes make the lips do, which a tracker
    sees blinks and trembling on top of.
    """

    avatar: str
    dataset: str
    split: Split
    driver: Driver
    takes: int
    takes_of_other_looks: int
    frames: int
    frames_learned: int
    face_seen: float
    real_face_seen: float
    psnr_db: float
    psnr_mouth_db: float
    ssim: float
    ssim_mouth: float
    lpips: float
    lmd_px256: float
    lmd_head_aligned_px256: float
    aperture_correlation: float
    width_correlation: float
    blendshape_error: float
    jitter_px256: float
    real_jitter_px256: float
    silent_motion_px256: float
    real_silent_motion_px256: float
    silent_moving_share: float
    real_silent_moving_share: float
    silent_moving_share_told: float
    silent_frames: int
    real_silent_frames: int
    sync_offset_frames: float
    real_sync_offset_frames: float
    sync_confidence: float
    real_sync_confidence: float
    sync_distance: float
    real_sync_distance: float
    sync_within_one_frame: float
    real_sync_within_one_frame: float
    judge_offset_frames: float
    real_judge_offset_frames: float
    judge_confidence: float
    real_judge_confidence: float
    judge_distance: float
    real_judge_distance: float
    syncnet_offset_frames: float
    real_syncnet_offset_frames: float
    lse_c: float
    real_lse_c: float
    lse_d: float
    real_lse_d: float
    closure_f1: float
    real_closure_f1: float
    closure_recall: float
    real_closure_recall: float
    closure_precision: float
    real_closure_precision: float
    not_computed: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """JSON values; NaN becomes null."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def evaluate_avatar(
    avatar: Path,
    dataset: Path,
    tracker: Tracker,
    split: Split = "test",
    encoder: Path | None = None,
    features: Path | str | None = None,
    driver: Driver = "speech",
    all_looks: bool = False,
    most_takes: int | None = None,
    phones: Path | None = None,
    videos: Path | None = None,
    on_take: Callable[[Rendered], None] = lambda rendered: None,
    on_progress: Callable[[float], None] = lambda share: None,
    feature_weights: Path | None = None,
    judges: EvaluateConfig | None = None,
    device: str = "cpu",
) -> AvatarReport:
    """Render the takes of ``split`` that show the avatar's look, or all of them, and judge them.

    ``phones`` is a folder of forced alignments ``CLIP.txt`` (`io.phones`), for closure on b, m, p.
    ``on_take`` is given each take as it is done, for sheets and videos. ``judges`` are as in
    ``evaluate video``; the encoder that measures sync is ``encoder`` unless they name another.
    ``device`` is what draws: auto, cpu or cuda.

    Raises:
        InputError: files that cannot be read, no take to judge, another encoder, or no such device.
    """
    at_least_one(most_takes, "--most-takes")
    loaded = drawn_on(load_avatar(avatar), device)
    listener = listener_of_avatar(loaded, encoder, features, feature_weights)
    data = open_dataset(dataset)
    takes = takes_of(data, split)
    if not takes:
        raise InputError(
            f"data set {data.path} has no clip in split {split!r}: prepare more recordings, or "
            "choose another split"
        )
    config = judges or EvaluateConfig()
    tally, others, learned = Tally(replace(config, encoder=config.encoder or encoder)), 0, 0
    chosen: list[Take] = []
    for take in takes:
        if len(chosen) == most_takes:
            break
        if all_looks or has_look(loaded, data, take, videos):
            chosen.append(take)
        else:
            others += 1
    if not chosen:
        raise InputError(
            f"none of the {len(takes)} takes of split {split!r} of {data.path} shows the look this "
            "avatar draws: judge it on all with --all-looks, or choose another split"
        )
    times = {take: [] if phones is None else _phones(phones, take) for take in chosen}
    for i, take in enumerate(chosen):
        on_progress(i / len(chosen))
        rendered = render_take(loaded, data, take, listener, driver, tracker, videos)
        tally.add(rendered, times[take])
        learned += frames_learned(loaded, data, take)
        on_take(rendered)
    return AvatarReport(
        avatar=avatar.name,
        dataset=data.name,
        split=split,
        driver=driver,
        takes=tally.takes,
        takes_of_other_looks=others,
        frames_learned=learned,
        **tally.figures(),
    )


def frames_learned(avatar: Avatar, data: Dataset, take: Take) -> int:
    """How many frames of ``take`` the avatar learned from; 0 where its file does not say."""
    learned: set[int] = set()
    for part in ("learned_from", "heard_from"):  # all of it, and what was heard anew since
        said = avatar.details.get(part) or {}
        for clip, start, stop in said["takes"] if said.get("dataset") == data.name else ():
            if clip == take.clip:
                learned |= {*range(max(take.start, start), min(take.stop, stop))}
    return len(learned)


def drawn_on(avatar: Avatar, device: str) -> Avatar:
    """``avatar`` with its head on a device; ``auto`` is CUDA where that can draw it.

    Raises: InputError when there is no such device.
    """
    where = chosen_device(device)
    lacks_kernels = avatar.renderer == "splat" and importlib.util.find_spec("gsplat") is None
    if device == "auto" and lacks_kernels:
        where = torch.device("cpu")
    avatar.head.to(where)
    return avatar


def render_take(
    avatar: Avatar,
    data: Dataset,
    take: Take,
    listener: Listener,
    driver: Driver,
    tracker: Tracker,
    videos: Path | None = None,
) -> Rendered:
    """Draw one take of a data set, moved as the person moved in it.

    Raises: InputError when a tracker finds no face in the real pictures.
    """
    clip, person = data.clip(take.clip), avatar.person
    track = sliced(clip.track, take)
    poses = person.head_poses(track)
    real = framed_pictures(data, take, person.framing, None, videos)
    motion = motion_of(person, track, poses, real)
    if driver == "speech":
        heard = listener.features(take.clip, clip.speech)
        with torch.inference_mode():
            codes = avatar.head.speech(torch.from_numpy(heard))
        rows = np.arange(take.start, take.stop).clip(max=len(heard) - 1)
        codes = codes[torch.from_numpy(rows)]
    else:
        codes = torch.from_numpy(person.mouth_codes(track, poses))
    drawn = np.stack(list(avatar.head.pictures(codes, motion)))
    samples = clip.speech.samples[take.start * SAMPLES_PER_FRAME : take.stop * SAMPLES_PER_FRAME]
    seen = beside(take, drawn, real, samples, follow_every_face(real, tracker), tracker)
    return replace(seen, told=lip_landmarks(avatar, codes))


def sheet_rows(rendered: Rendered) -> list[tuple[str, Sequence[UInt8[np.ndarray, "H W 3"]]]]:
    """Real and rendered pictures at moments spread over a take, and both mouths, for a sheet."""
    moments = np.linspace(0, len(rendered) - 1, min(_SHEET_COLUMNS, len(rendered)))
    at = moments.round().astype(int)
    rows: list[tuple[str, Sequence[np.ndarray]]] = []
    for name, pictures in (("real", rendered.real), ("rendered", rendered.drawn)):
        where = image_from_lips_transforms(rendered.real_track)[at]
        mouths = crop_lips(pictures[at], where, 128)
        rows.append((f"{rendered.take.clip}, {name}", list(pictures[at])))
        rows.append((f"{rendered.take.clip}, {name} mouth", list(mouths)))
    return rows


def sheet(rendered: Sequence[Rendered]) -> UInt8[np.ndarray, "H W 3"]:
    return contact_sheet([row for one in rendered for row in sheet_rows(one)])


def curves(rendered: Sequence[Rendered]) -> UInt8[np.ndarray, "H W 3"]:
    """How far rendered and real lips are apart, over the time of each take.

    Raises: InputError without matplotlib.
    """
    return curves_picture(
        [
            Curve(
                one.take.clip,
                lip_aperture(one.drawn_side.points()),
                lip_aperture(one.real_side.points()),
            )
            for one in rendered
        ]
    )


def side_by_side(rendered: Rendered) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Real on the left, rendered on the right."""
    for real, drawn in zip(rendered.real, rendered.drawn, strict=True):
        yield np.concatenate((real, drawn), axis=1)


def side_by_side_origin(avatar: Path) -> Origin:
    """What a video of ``side_by_side`` says of its making."""
    comment = "real on the left, synthetic on the right"
    return Origin(comment, "compositeSynthetic", load_avatar(avatar).parts)


def has_look(avatar: Avatar, data: Dataset, take: Take, videos: Path | None) -> bool:
    """Whether a take shows the person, hair, clothes and light that ``avatar`` draws."""
    person = avatar.person
    track = sliced(data.clip(take.clip).track, take)
    poses = person.head_poses(track)
    if not person.has_this_face(track, poses):
        return False
    opening = framed_pictures(data, take, person.framing, [0], videos)
    return person.has_this_look(opening, poses[:1])


def _phones(folder: Path, take: Take) -> list[closure.Phone]:
    """The phones that sound within a take, timed from its start."""
    start_s, stop_s = take.start / FRAME_RATE_HZ, take.stop / FRAME_RATE_HZ
    return closure.phones_within(read_phones(folder / f"{take.clip}.txt"), start_s, stop_s)
