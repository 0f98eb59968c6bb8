"""Writing an ONNX graph by hand: a line a node, so that the file says what was meant and no more.

A tracer would unroll the recurrence and turn the windows into pages of index arithmetic; the
networks here are some eighty operators, and a runtime's own GRU is faster than an unrolled one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

OPSET = 17  # of 2022: LayerNormalization is in it, and it is in the runtimes of older devices
IR_VERSION = 8

Shape = Sequence[int | str]  # a string names a size that is free
END = np.array([np.iinfo(np.int64).max])  # of any axis, for Slice


class Graph:
    """Nodes and weights in the making. Values are known by name; arrays become weights.

    ``int8_weights`` keeps what `learned` is given as 8-bit integers.
    """

    def __init__(self, name: str, int8_weights: bool = False) -> None:
        self.name = name
        self.int8_weights = int8_weights
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def __call__(
        self,
        operator: str,
        *inputs: str | np.ndarray | np.generic,
        outputs: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """Add a node; returns the name of its first output, made up if ``outputs`` are not."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        made = list(outputs) or [f"{self.name}/{operator}-{len(self._nodes)}"]
        self._nodes.append(helper.make_node(operator, names, made, **attributes))
        return made[0]

    def input(self, name: str, kind: type[np.generic], shape: Shape) -> None:
        self._inputs.append(_value(name, kind, shape))

    def output(self, value: str, name: str, kind: type[np.generic], shape: Shape) -> None:
        """Give ``value`` out under ``name``."""
        self("Identity", value, outputs=[name])
        self._outputs.append(_value(name, kind, shape))

    @staticmethod
    def tensor(value: np.ndarray, name: str = "") -> Any:
        from onnx import numpy_helper

        return numpy_helper.from_array(np.array(value, order="C"), name)

    def constant(self, value: np.ndarray | np.generic) -> str:
        name = f"{self.name}/weight-{len(self._weights)}"
        self._weights.append(self.tensor(np.asarray(value), name))
        return name

    def learned(self, weight: Tensor, axis: int) -> str:
        """A weight matrix; if of integers, every slice along ``axis`` has a scale of its own."""
        value = array(weight)
        if not self.int8_weights:
            return self.constant(value)
        scale = np.abs(value).max(1 - axis, keepdims=True).clip(1e-12) / 127
        steps = np.rint(value / scale).astype(np.int8)
        zero = np.zeros(scale.size, np.int8)
        return self("DequantizeLinear", steps, scale.ravel(), zero, axis=axis)

    def linear(self, x: str, layer: nn.Linear) -> str:
        product = self("MatMul", x, self.learned(layer.weight.T, axis=1))
        return self("Add", product, array(layer.bias))

    def conv(self, x: str, layer: nn.Conv1d, **attributes: Any) -> str:
        weight, bias = layer.weight, cast(Tensor, layer.bias)
        return self("Conv", x, array(weight), array(bias), **attributes)

    def layer_norm(self, x: str, layer: nn.LayerNorm) -> str:
        scale, shift = array(layer.weight), array(layer.bias)
        return self("LayerNormalization", x, scale, shift, epsilon=layer.eps)

    def gelu(self, x: str) -> str:
        """By the error function; opset 17 has it in pieces only."""
        curve = self("Erf", self("Mul", x, np.float32(0.5**0.5)))
        return self("Mul", self("Mul", x, np.float32(0.5)), self("Add", curve, np.float32(1)))

    def cast(self, x: str, kind: type[np.generic]) -> str:
        from onnx import helper

        return self("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def proto(self) -> Any:
        from onnx import helper

        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._weights)

    def model(self, metadata: Mapping[str, str]) -> bytes:
        """The whole file, checked against the standard. Equal graphs give equal bytes."""
        import onnx
        from onnx import helper

        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(self.proto(), opset_imports=[opset], ir_version=IR_VERSION)
        model.producer_name = "se4lip"
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().numpy()


def int64(*values: int) -> np.ndarray:
    """Axes, sizes and bounds, which ONNX takes as tensors."""
    return np.array(values)


def _value(name: str, kind: type[np.generic], shape: Shape) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), list(shape)
    )
