"""What a head hears: the features around a frame, smoothed by attention, as a short code.

As in AD-NeRF and the heads after it (TalkingGaussian among them), frame ``i`` is driven by feature
rows ``[i - 4, i + 4)``, and the codes of eight neighbouring frames are averaged with weights found
from the codes themselves, which steadies the lips. Sources: Guo et al. 2021, section 3.2; Li et al.
2024 (TalkingGaussian). The gate behind it is ours: it lets the mouth rest while nobody speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.head.gate import CERTAIN_ROWS, NOISE_CONTEXT, NOISE_LIMIT, certain, noisy, opened
from se4lip.types import InputError

WINDOW = 8  # rows [i - 4, i + 4), for the features as for the codes
_PAST, _FUTURE = 4, 3
_WIDE_OPEN = 10.0  # log odds
# rows back that a row's code can depend on
PAST_CONTEXT = max(CERTAIN_ROWS[0] + 2 * _PAST, NOISE_CONTEXT)
FUTURE_CONTEXT = CERTAIN_ROWS[1] + 2 * _FUTURE  # and ahead


@dataclass(frozen=True)
class SpeechWindowConfig:
    feature_width: int  # D of the features, whatever encoder made them
    code_width: int
    hidden: int = 64
    dropout: float = 0.1
    noise: float = 0.1  # of normalised features, while training


class SpeechWindow(nn.Module):
    """Features ``[T, D]`` to codes ``[T, K]``. Rows beyond the ends are the first and the last;
    the attention's own convolution alone, one row to either side, sees zeros there."""

    feature_mean: Tensor
    feature_scale: Tensor
    rest: Tensor  # [K] the mouth while nobody speaks
    certainty: Tensor  # log odds by which the best evidence nearby must exceed even; 0 asks none
    wariness: Tensor  # log odds asked beyond these where noise was heard of late
    noise_weight: Tensor  # [D] of normalised features, to log odds that they are of noise
    noise_bias: Tensor

    def __init__(self, config: SpeechWindowConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("feature_mean", torch.zeros(config.feature_width))
        self.register_buffer("feature_scale", torch.ones(config.feature_width))
        self.project = nn.Linear(config.feature_width, config.hidden)
        self.window = nn.Conv1d(config.hidden, config.hidden, WINDOW)
        self.mix = nn.Linear(config.hidden, config.hidden)
        self.code = nn.Linear(config.hidden, config.code_width)
        self.attention = nn.Conv1d(config.code_width, 1, 3, padding=1)
        # Weights begin as a narrow bell around the frame itself: lips that close for one frame
        # must be able to, and content alone could not tell which of eight neighbours is meant.
        offset = torch.arange(WINDOW) - float(_PAST)
        self.nearness = nn.Parameter(-0.5 * offset.square())
        self.register_buffer("rest", torch.zeros(config.code_width))
        self.register_buffer("certainty", torch.zeros(()))
        self.register_buffer("wariness", torch.zeros(()))
        self.register_buffer("noise_weight", torch.zeros(config.feature_width))
        self.register_buffer("noise_bias", torch.full((), -NOISE_LIMIT))
        self.heed = nn.Conv1d(config.hidden, 1, WINDOW)
        self.register_load_state_dict_pre_hook(_without_gate)

    def normalise_by(self, features: Float[Tensor, "T D"]) -> None:
        """Takes mean and spread of each column from the training features.

        So whatever scale and origin a kind of features has makes no difference. A column that
        never changes but for rounding is not heard at all.
        """
        self._check(features)
        mean, spread = features.mean(0), features.std(0)
        heard = spread > 1e-5 * mean.abs() + 1e-30
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(torch.where(heard, 1 / spread.clamp_min(1e-30), 0.0))

    def forward(self, features: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B T K"]:
        """Raises: InputError when the features have another width than those trained on."""
        return self.codes_and_heed(features)[0]

    def codes_and_heed(
        self, features: Float[Tensor, "*B T D"]
    ) -> tuple[Float[Tensor, "*B T K"], Float[Tensor, "*B T"]]:
        """Codes, and the log odds that somebody speaks."""
        self._check(features)
        config = self.config
        x = heard = self.normalised(features)
        if self.training and config.noise:
            x = x + config.noise * torch.randn_like(x)
        x = functional.dropout(functional.gelu(self.project(x)), config.dropout, self.training)
        x = functional.gelu(self.window(_padded(x.mT)))
        x = functional.dropout(x.mT, config.dropout, self.training)
        heed = self.heed(_padded(x.mT))[..., 0, :]  # sees as far as attention: it adds no delay
        if not self.training:
            of_noise = noisy(heard @ self.noise_weight + self.noise_bias)
            heed = certain(heed, self.certainty + self.wariness * of_noise)
        codes = self.code(functional.gelu(self.mix(x)) + x).mT
        # [*B, K, T, 8] neighbours and one weight for each
        neighbours = _padded(codes).unfold(-1, WINDOW, 1)
        wanted = _padded(self.attention(codes)).unfold(-1, WINDOW, 1)
        weights = (wanted + self.nearness).softmax(-1)
        spoken = (neighbours * weights).sum(-1).mT
        return self.rest + opened(heed)[..., None] * (spoken - self.rest), heed

    @property
    def knows_noise(self) -> bool:
        return bool(self.noise_weight.any())

    def normalised(self, features: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B T D"]:
        # Features come from the CPU, whatever device the head is on.
        return (features.to(self.feature_mean.device) - self.feature_mean) * self.feature_scale

    def _check(self, features: Tensor) -> None:
        if features.shape[-1] != self.config.feature_width:
            raise InputError(
                f"features are {features.shape[-1]} wide, but this head was trained on features "
                f"{self.config.feature_width} wide: use the encoder it was trained with"
            )


def _without_gate(module: SpeechWindow, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Heads made before there was a gate get one that is always open; before there was certainty,
    none is asked; before noise was known, there is none."""
    state.setdefault(f"{prefix}certainty", torch.zeros(()))
    state.setdefault(f"{prefix}wariness", torch.zeros(()))
    if f"{prefix}noise_weight" not in state and f"{prefix}noise_bias" not in state:
        state[f"{prefix}noise_weight"] = torch.zeros_like(module.noise_weight)
        state[f"{prefix}noise_bias"] = torch.full_like(module.noise_bias, -NOISE_LIMIT)
    open_gate = {
        f"{prefix}heed.weight": torch.zeros_like(module.heed.weight),
        f"{prefix}heed.bias": torch.full((1,), _WIDE_OPEN),
        f"{prefix}rest": torch.zeros_like(module.rest),
    }
    if not open_gate.keys() & state.keys():  # one that lacks a part of its gate is damaged
        state.update(open_gate)


def _padded(x: Float[Tensor, "*B C T"]) -> Float[Tensor, "*B C T_padded"]:
    """The ends held, so that a window of eight at every row fits."""
    before = x[..., :1].expand(*x.shape[:-1], _PAST)
    after = x[..., -1:].expand(*x.shape[:-1], _FUTURE)
    return torch.cat((before, x, after), dim=-1)
