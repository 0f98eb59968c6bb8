"""Nets in time of encoders beside the shipped one: a window of columns to one vector.

Each reads columns ``reads`` wide and gives ``width`` numbers: its last states and an
attention-weighted mean of all, as the shipped encoder's GRU does. ``causal`` nets look back only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Net = Literal["gru", "lstm", "tcn", "transformer"]
_PROJECTION = 256  # what the shipped GRU reads
_DILATIONS = (1, 2, 4, 1)  # 17 columns in all, a window of five frames
_LAYERS, _HEADS, _PLACES = 2, 4, 64


class Recurrent(nn.Module):
    """A GRU or LSTM, in both directions unless causal."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], hidden: int, causal: bool) -> None:
        super().__init__()
        self.reads, self.both = _PROJECTION, not causal
        self.net = kind(self.reads, hidden, batch_first=True, bidirectional=self.both)
        self.attend = nn.Linear(hidden * (1 + self.both), 1)
        self.width = 2 * hidden * (1 + self.both)

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        states, _ = self.net(windows)
        ahead, back = states.chunk(2, dim=-1) if self.both else (states, None)
        last = ahead[:, -1] if back is None else torch.cat((ahead[:, -1], back[:, 0]), -1)
        return torch.cat((last, _attended(states, self.attend)), -1)


class Convolved(nn.Module):
    """Residual dilated convolutions (TCN, Bai et al. 2018), four of them."""

    def __init__(self, hidden: int, causal: bool) -> None:
        super().__init__()
        self.reads, self.causal = hidden, causal
        self.layers = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 3, dilation=dilation) for dilation in _DILATIONS
        )
        self.attend = nn.Linear(hidden, 1)
        self.width = 2 * hidden

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        x = windows.mT
        for layer, dilation in zip(self.layers, _DILATIONS, strict=True):
            sides = (2 * dilation, 0) if self.causal else (dilation, dilation)
            x = x + functional.gelu(layer(functional.pad(x, sides)))
        return torch.cat((x[..., -1], _attended(x.mT, self.attend)), -1)


class Attending(nn.Module):
    """Two layers of self-attention with learned places."""

    def __init__(self, hidden: int, causal: bool) -> None:
        super().__init__()
        self.reads = hidden
        self.places = nn.Parameter(0.02 * torch.randn(_PLACES, hidden))
        self.layers = nn.Sequential(*(_Layer(hidden, causal) for _ in range(_LAYERS)))
        self.attend = nn.Linear(hidden, 1)
        self.width = 2 * hidden

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        x = self.layers(windows + self.places[: windows.shape[1]])
        return torch.cat((x[:, -1], _attended(x, self.attend)), -1)


class _Layer(nn.Module):
    """Self-attention and a net of each column alone, norms first."""

    def __init__(self, hidden: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm_attention, self.norm_column = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.back = nn.Linear(hidden, hidden)
        self.column = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def forward(self, x: Float[Tensor, "N L P"]) -> Float[Tensor, "N L P"]:
        packed = self.query_key_value(self.norm_attention(x))
        query, key, value = packed.float().unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        # float32: on CPUs the backward pass of bfloat16 attention takes five times as long.
        with torch.autocast(x.device.type, enabled=False):
            seen = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.back(seen.transpose(1, 2).flatten(-2))
        return x + self.column(self.norm_column(x))


def _attended(states: Float[Tensor, "N L W"], attend: nn.Linear) -> Float[Tensor, "N W"]:
    return (attend(states).softmax(1) * states).sum(1)


NETS: dict[str, Callable[[int, bool], Recurrent | Convolved | Attending]] = {
    "gru": lambda hidden, causal: Recurrent(nn.GRU, hidden, causal),
    "lstm": lambda hidden, causal: Recurrent(nn.LSTM, hidden, causal),
    "tcn": Convolved,
    "transformer": Attending,
}
