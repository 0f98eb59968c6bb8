"""The field: what is at a place of the shell, for what is said and how the eyes are.

Features of the place come from planes. Region attention (Li et al. 2023, ER-NeRF, section 3.3):
the features say how much each number of a code matters *there*; the code, so weighted, goes into
the network beside the features. Speech is weighted by any number, eyes and look by one between 0
and 1. Density and colour come from one small network.

Four channels of the finest plane are colour and density already, and the network adds to them, so
that a field can start out as a picture of the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from se4lip.head.nerf.planes import CHANNELS, Level, levels, look_up, texel_count
from se4lip.head.nerf.shell import Shell
from se4lip.types import InputError, within

DENSEST = 6.0  # largest logarithm of density per centimetre


@dataclass(frozen=True)
class FieldConfig:
    """``rows`` x ``columns`` texels over the shell's rectangle, ``layers`` through it.

    A new field is a surface: the logarithm of density is ``at_surface`` on the relief and grows by
    ``slope`` a centimetre, as far as ``grows_cm`` behind it.
    """

    rows: int
    columns: int
    mouth_width: int
    eye_width: int
    look_width: int
    layers: int = 12
    hidden: int = 64
    attention_hidden: int = 32
    at_surface: float = 2.0
    slope: float = 6.0
    grows_cm: float = 0.3

    def __post_init__(self) -> None:
        # Kernels go where these say, without looking.
        within(self, rows=(4, 8192), columns=(4, 8192), layers=(2, 1024))
        within(self, hidden=(16, 8192), attention_hidden=(16, 8192))
        if self.hidden % 16 or self.attention_hidden % 16:
            raise InputError(
                f"hidden numbers are {self.hidden} and {self.attention_hidden}, but multiples of 16"
                " are needed: give others"
            )

    @property
    def levels(self) -> tuple[Level, ...]:
        return levels(self.rows, self.columns, self.layers)

    @property
    def speech_channels(self) -> int:
        return _whole(self.mouth_width)

    @property
    def other_channels(self) -> int:
        return _whole(self.eye_width + self.look_width)


class Field(nn.Module):
    """Places and codes to density (per centimetre) and colour (sRGB, unbounded)."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        wide, hidden = CHANNELS * len(config.levels), config.hidden
        self.table = nn.Parameter(0.1 * torch.randn(texel_count(config.levels), CHANNELS))
        codes = config.speech_channels + config.other_channels
        self.attention_in = nn.Linear(wide, config.attention_hidden)
        self.attention_out = nn.Linear(config.attention_hidden, codes)
        self.place_in = nn.Linear(wide, hidden)
        self.code_in = nn.Linear(codes, hidden, bias=False)
        self.between = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 4)
        with torch.no_grad():
            self.table[:, :4] = 0
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def codes(
        self, mouth: Float[Tensor, "P K"], eyes: Float[Tensor, "P E"], look: Float[Tensor, "P L"]
    ) -> Float[Tensor, "P codes"]:
        """All codes in the order of the attention's channels, filled up with zeros."""
        speech = mouth.new_zeros(len(mouth), self.config.speech_channels)
        others = mouth.new_zeros(len(mouth), self.config.other_channels)
        speech[:, : mouth.shape[1]] = mouth
        others[:, : eyes.shape[1]] = eyes
        others[:, eyes.shape[1] : eyes.shape[1] + look.shape[1]] = look
        return torch.cat((speech, others), dim=1)

    def forward(
        self,
        shell: Shell,
        places: Float[Tensor, "n 3"],
        frame: Int[Tensor, " n"],
        codes: Float[Tensor, "P codes"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        features = look_up(self.table, self.config.levels, places)
        heard = self.attention(features) * codes[frame]
        x = torch.relu(self.place_in(features) + self.code_in(heard))
        found = self.out(torch.relu(self.between(x))) + features[:, :4]
        config = self.config
        depth_cm = shell.depth_cm(places).clamp(max=config.grows_cm)
        solid = found[:, 3] + (config.at_surface + config.slope * depth_cm)
        density = solid.clamp(max=DENSEST).exp() * shell.fade(places)
        return density, found[:, :3]

    def attention(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n codes"]:
        """How much each number of the codes matters at places of these features."""
        weight = self.attention_out(torch.relu(self.attention_in(features)))
        split = self.config.speech_channels
        return torch.cat((weight[:, :split], weight[:, split:].sigmoid()), dim=1)


def _whole(width: int) -> int:
    """Rounded up to whole sixteens, as the compiled path reads them."""
    return -(-width // CHANNELS) * CHANNELS
