"""Sixteen float32 numbers at once, as a value inside numba functions.

A tile is 16 pixels wide, and one `Lanes` is one row of it. LLVM's own vectoriser finds such rows
only sometimes (it must first prove that no two arrays overlap, and prefers the wrong loop), so the
vector type is written down instead: ``+ - * /`` work on lanes and floats, and the functions below
do the rest. Whatever the processor has (AVX-512, AVX2, NEON), LLVM cuts the sixteen to fit it.

    row = load(array, offset)          store(array, offset, row)       array is flat float32
    row = spread(x)                    total = lane_sum(row)            peak = lane_max(row)
    row = where_greater(a, b, this, that)     smaller(a, b)     larger(a, b)     exp2(row)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 16
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(32), WIDTH)
# numbers are finite (checked at the public boundary), but never assume it: "fast" minus nnan, ninf
_FLAGS = ("contract", "reassoc", "nsz", "arcp", "afn")


class LanesType(types.Type):
    """The numba type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes_type = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VECTOR)


def _spread(builder: Any, scalar: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(_INTEGERS, [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [float(np.float32(value))] * WIDTH)


def _as_lanes(builder: Any, value: Any, numba_type: Any) -> Any:
    return value if isinstance(numba_type, LanesType) else _spread(builder, value)


def _define_operator(function: Callable[..., Any], instruction: str) -> None:
    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and lanes_type in args and set(args) <= {lanes_type, types.float32}:
                return signature(lanes_type, *args)
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (_as_lanes(builder, a, t) for a, t in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(left, right, flags=_FLAGS)

    for pair in (
        (lanes_type, lanes_type),
        (lanes_type, types.float32),
        (types.float32, lanes_type),
    ):
        lower_builtin(function, *pair)(lower)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
    (operator.iadd, "fadd"),
    (operator.isub, "fsub"),
    (operator.imul, "fmul"),
):
    _define_operator(_function, _instruction)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


@intrinsic
@no_type_check
def load(typing_context: Any, array: Any, offset: Any) -> Any:
    """Sixteen neighbours of a flat float32 array. Bounds are not checked."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, sig.args[0], args[0], args[1])
        return builder.load(address, align=4)

    return lanes_type(array, types.intp), generate


@intrinsic
@no_type_check
def store(typing_context: Any, array: Any, offset: Any, row: Any) -> Any:
    """Undoes `load`. Bounds are not checked."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, sig.args[0], args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_type), generate


@intrinsic
@no_type_check
def spread(typing_context: Any, scalar: Any) -> Any:
    """The same number sixteen times."""
    return lanes_type(types.float32), lambda context, builder, sig, args: _spread(builder, args[0])


def _choice(comparison: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_as_lanes(builder, v, t) for v, t in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)

    return generate


@intrinsic
@no_type_check
def smaller(typing_context: Any, a: Any, b: Any) -> Any:
    """The smaller of the two in each lane; either may be one number."""
    return lanes_type(a, b), _choice("<")


@intrinsic
@no_type_check
def larger(typing_context: Any, a: Any, b: Any) -> Any:
    """The larger of the two in each lane; either may be one number."""
    return lanes_type(a, b), _choice(">")


@intrinsic
@no_type_check
def where_greater(typing_context: Any, a: Any, b: Any, this: Any, that: Any) -> Any:
    """``this`` in the lanes where ``a > b``, else ``that``; each may be one number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, this, that = (_as_lanes(builder, v, t) for v, t in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered(">", a, b), this, that)

    return lanes_type(a, b, this, that), generate


def _reduction(name: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = [ir.Constant(_FLOAT, -0.0)] if name == "fadd" else []
        kind = ir.FunctionType(_FLOAT, [_FLOAT] * len(start) + [_VECTOR])
        full_name = f"llvm.vector.reduce.{name}.v{WIDTH}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, full_name)
        return builder.call(function, [*start, args[0]], fastmath=_FLAGS)

    return generate


@intrinsic
@no_type_check
def lane_sum(typing_context: Any, row: Any) -> Any:
    """The sum of the lanes, in whatever order the compiler chose for this machine."""
    return types.float32(lanes_type), _reduction("fadd")


@intrinsic
@no_type_check
def lane_max(typing_context: Any, row: Any) -> Any:
    """The largest of the lanes."""
    return types.float32(lanes_type), _reduction("fmax")


@intrinsic
@no_type_check
def _split_exponent(typing_context: Any, row: Any) -> Any:
    """``(r, 2^n)`` with ``row = n + r``, n whole and r in [-1/2, 1/2], for rows in [-126, 0]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        down = builder.fsub(args[0], _constant(0.5), flags=_FLAGS)
        whole = builder.fptosi(down, _INTEGERS)  # truncates, which rounds numbers below zero up
        rest = builder.fsub(args[0], builder.sitofp(whole, _VECTOR), flags=_FLAGS)
        bits = builder.add(whole, ir.Constant(_INTEGERS, [127] * WIDTH))
        bits = builder.shl(bits, ir.Constant(_INTEGERS, [23] * WIDTH))
        return context.make_tuple(builder, sig.return_type, [rest, builder.bitcast(bits, _VECTOR)])

    return types.UniTuple(lanes_type, 2)(lanes_type), generate


# 2^r on [-1/2, 1/2]: least largest relative error, 7.5e-8, half a float32 step
_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(c) for c in (1.00000007, 0.69314697, 0.2402212, 0.05550713, 0.00967554, 0.00132765)
)


@njit(inline="always")
@no_type_check
def exp2(row):
    """2 to the power of each lane, for lanes in [-126, 0]; relative error below 2e-7."""
    r, power_of_two = _split_exponent(row)
    return power_of_two * (((((_C5 * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r + _C0)
