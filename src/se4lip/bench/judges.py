"""The judges of drawn clips, loaded before anything is drawn; those that are not here say why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from se4lip.artifacts.judge import judge_gate, judge_header, load_judge
from se4lip.bench import judged
from se4lip.bench.memory import digest_of
from se4lip.evaluation.rendered_takes import Rendered, Side, judged_rows, syncnet_score_of
from se4lip.evaluation.sync import enough_face, syncnet_network
from se4lip.evaluation.video import EvaluateConfig, lpips_network
from se4lip.metrics import image, syncnet
from se4lip.metrics.judge import Gate, Judge
from se4lip.metrics.lpips import Lpips
from se4lip.types import FRAME_RATE_HZ, InputError

T = TypeVar("T")
_BATCH_FRAMES = 8


@dataclass(frozen=True)
class Judges:
    """``why``: of each judge that is not here. ``digest`` is of those that are."""

    second: Judge | None
    gate: Gate
    lpips: Lpips | None
    syncnet: syncnet.SyncNet | None
    digest: str
    why: dict[str, str] = field(default_factory=dict)

    def sync(self, one: Rendered, side: Side) -> dict[str, Any]:
        """What the sync judges say of drawn or of real pictures with the sound of ``one``, where a
        face is seen in most of them."""
        found: dict[str, Any] = {}
        try:
            enough_face(side.seen, f"take {one.take.clip}")
        except InputError:
            return found
        rows = None if self.second is None else judged_rows(self.second, one, side)
        if rows is not None:
            found["judge"] = judged.sums(rows)
        if self.syncnet is not None:
            with contextlib.suppress(InputError):  # a take that is too short for it
                score = syncnet_score_of(self.syncnet, one, side)
                found |= {"lse_c": score.lse_c, "lse_d": score.lse_d}
        return found

    @torch.inference_mode()
    def apart(self, one: Rendered) -> dict[str, float]:
        """LPIPS of the drawn pictures, where its weights are here."""
        if self.lpips is None:
            return {}
        values = [
            value
            for start in range(0, len(one), _BATCH_FRAMES)
            for value in self.lpips(
                image.pictures(one.drawn[start : start + _BATCH_FRAMES]),
                image.pictures(one.real[start : start + _BATCH_FRAMES]),
            ).tolist()
        ]
        return {"lpips": float(np.mean(values))}

    def may_judge(self, speech_frames: int, shortest_frames: int) -> str:
        """Empty, or why the second judge may not judge so much speech."""
        if self.second is None:
            return self.why["second judge"]
        try:
            self.gate.check(speech_frames / FRAME_RATE_HZ, shortest_frames / FRAME_RATE_HZ)
        except InputError as error:
            return str(error)
        return ""


def loaded(config: EvaluateConfig) -> Judges:
    """The judges that ``evaluate video`` would ask."""
    why: dict[str, str] = {}

    def here(name: str, load: Callable[[], T]) -> T | None:
        try:
            return load()
        except InputError as error:
            why[name] = str(error).replace("pass --fetch", "run `se4lip evaluate video --fetch`")
            return None

    second = here("second judge", lambda: load_judge(config.judge))
    gate = here("gate", lambda: judge_gate(config.judge)) or Gate()
    lpips = here("LPIPS", lambda: lpips_network(config))
    sync = here("SyncNet (LSE-C, LSE-D)", lambda: syncnet_network(config.syncnet, config.fetch))
    digest = digest_of(
        judge_header(config.judge).sha256 if second is not None else "none",
        asdict(gate),
        *(_of_weights(network) for network in (lpips, sync)),
    )
    return Judges(second, gate, lpips, sync, digest, why)


def _of_weights(network: torch.nn.Module | None) -> str:
    if network is None:
        return "none"
    return digest_of(*(value.numpy() for value in network.state_dict().values()))
