"""A second device for a machine without one: ``elsewhere``, the CPU under another name.

Its tensors hold ordinary ones and refuse to meet any of the CPU's, as CUDA's do: to be mixed, to be
read by numpy, to be drawn from a generator of the CPU. Code that runs on it and gives the CPU's
numbers puts all its tensors where they belong. What it cannot show is a kernel's own numbers.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
# CUDA lets an index and a mask be the CPU's, and copies between devices on request.
_MAY_MEET = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
}


class Elsewhere(Tensor):
    """A tensor of the device ``elsewhere``; ``here`` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        assert not isinstance(here, Elsewhere)
        made = Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device("elsewhere", 0),
        )
        made.here = here
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.here!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            twin = torch.nn.Parameter(twin, self.requires_grad)
        memo[id(self)] = twin
        return twin

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype).to(self.device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what has no tensor of the device among its arguments but asks for one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given, _ = tree_flatten((args, kwargs))
    tensors = [value for value in given if isinstance(value, Tensor)]
    there = any(isinstance(value, Elsewhere) for value in tensors)
    asked = next((value.type for value in given if isinstance(value, torch.device)), None)
    if there and func not in _MAY_MEET:
        for value in tensors:
            if not isinstance(value, Elsewhere) and value.ndim:
                raise RuntimeError(f"{func}: tensors on two devices, elsewhere and {value.device}")
    to_elsewhere = asked == "elsewhere" or (there and asked is None)
    generator = kwargs.get("generator")
    if to_elsewhere and generator is not None and generator.device.type != "elsewhere":
        raise RuntimeError(f"{func}: a generator of {generator.device} for a tensor of elsewhere")
    sources = {id(value.here): value for value in tensors if isinstance(value, Elsewhere)}
    bare_args, bare = tree_map(_here, (args, kwargs))
    if bare.get("pin_memory"):
        bare["pin_memory"] = False
    with torch.inference_mode(False), torch.no_grad():  # else views of ours would be refused
        found = _KERNELS.get(func, func)(*bare_args, **bare)
    if func is aten.copy_.default:
        return args[0]
    if torch.Tag.inplace_view in func.tags:  # the shape outside follows the shape within
        with no_dispatch():
            func(*args, **kwargs)
    if not to_elsewhere:
        return found
    with torch.inference_mode(False):
        return tree_map(functools.partial(_there, sources), found)


def _gru_cell(
    input_gates: Tensor,
    hidden_gates: Tensor,
    hx: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What accelerators fuse and the CPU lacks: a GRU's step, and what its gradient needs."""
    if input_bias is not None and hidden_bias is not None:
        input_gates, hidden_gates = input_gates + input_bias, hidden_gates + hidden_bias
    (ir, iz, i_new), (hr, hz, h_new) = input_gates.chunk(3, -1), hidden_gates.chunk(3, -1)
    r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
    new = torch.tanh(i_new + r * h_new)
    return new + z * (hx - new), torch.cat((r, z, new, hx, h_new), -1)


def _gru_cell_backward(grad: Tensor, workspace: Tensor, has_bias: bool) -> tuple[Any, ...]:
    r, z, new, hx, h_new = workspace.chunk(5, -1)
    d_new = grad * (1 - z) * (1 - new * new)
    d_z = grad * (hx - new) * z * (1 - z)
    d_r = d_new * h_new * r * (1 - r)
    to_input = torch.cat((d_r, d_z, d_new), -1)
    to_hidden = torch.cat((d_r, d_z, d_new * r), -1)
    biases = (to_input.sum(0), to_hidden.sum(0)) if has_bias else (None, None)
    return to_input, to_hidden, grad * z, *biases


def _convolution_backward(
    grad: Tensor, pictures: Tensor, weight: Tensor, *geometry: Any
) -> tuple[Any, ...]:
    *geometry, mask = geometry
    found: tuple[Any, ...] = aten.convolution_backward.default(
        grad, pictures, weight, [len(weight)], *geometry, mask
    )
    return found


_KERNELS: dict[Any, Any] = {
    aten._thnn_fused_gru_cell.default: _gru_cell,
    aten._thnn_fused_gru_cell_backward.default: _gru_cell_backward,
    aten.convolution_overrideable.default: aten.convolution.default,
    aten.convolution_backward_overrideable.default: _convolution_backward,
}


def _here(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.here if isinstance(value, Elsewhere) else value


def _there(sources: dict[int, Elsewhere], value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    given = sources.get(id(value))  # what changes in place stays the tensor that it was
    return Elsewhere(value) if given is None else given


class _Module:
    """What torch asks a device's module for."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        pass

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.float32, torch.bfloat16]


def _empty_strided(size: Any, stride: Any, **options: Any) -> Tensor:
    dtype = options.get("dtype")
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _empty(size: Any, **options: Any) -> Tensor:
    return Elsewhere(torch.empty(size, dtype=options.get("dtype"), device="cpu"))


def _copy_from(source: Tensor, goal: Tensor, non_blocking: bool = False) -> Tensor:
    _here(goal).copy_(_here(source))
    return goal


_EVERY = torch.library.Library("_", "IMPL")
_ATEN = torch.library.Library("aten", "IMPL")


@functools.cache
def _register() -> None:
    _setup_privateuseone_for_python_backend("elsewhere", backend_module=_Module())
    _EVERY.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    # What torch makes of a Python list comes this way, past every mode.
    _ATEN.impl("empty_strided", _empty_strided, "PrivateUse1")
    _ATEN.impl("empty.memory_format", _empty, "PrivateUse1")
    _ATEN.impl("_copy_from", _copy_from, "PrivateUse1")


@contextlib.contextmanager
def elsewhere() -> Iterator[torch.device]:
    """The device, while the context is open."""
    _register()
    with _Mode():
        yield torch.device("elsewhere", 0)
