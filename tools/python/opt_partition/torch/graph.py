"""A rank's graph as its file has it: nodes, names and weights, read with the onnx package."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import onnx
import torch
from onnx import numpy_helper

from ..errors import OptPartitionError

DTYPES: Mapping[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
}
OWN_DOMAIN = "opt_partition"
OWN_VERSION = 2


@dataclass(frozen=True)
class Node:
    """One node; `op` has the domain before it where that is not ONNX's own."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


@dataclass
class Weight:
    """An initializer: where its numbers are, which may be nowhere."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    proto: onnx.TensorProto

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass
class Graph:
    file: Path
    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    weights: dict[str, Weight]
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)

    def error(self, message: str, node: Node | None = None, **parts: Any) -> OptPartitionError:
        if node is not None:
            parts = {"node": node.name or node.outputs[0], "op": node.op, **parts}
        parts.setdefault("code", "bad-graph/unsupported")
        return OptPartitionError(message, file=self.file, **parts)


def read_graph(file: Path) -> Graph:
    try:
        model = onnx.load(str(file), load_external_data=False)
    except FileNotFoundError:
        raise OptPartitionError("no such file", code="not-found/file", exit=66, file=file) from None
    except Exception as error:  # protobuf has several classes for what is no message
        raise OptPartitionError(f"not an ONNX file: {error}", code="bad-graph/syntax", file=file) from None
    for opset in model.opset_import:
        if opset.domain == OWN_DOMAIN and opset.version != OWN_VERSION:
            raise OptPartitionError(
                "a version of the collectives that this reader does not know",
                code="bad-graph/version",
                file=file,
                expected=OWN_VERSION,
                found=opset.version,
            )
    nodes = [_node(node) for node in model.graph.node]
    weights = {
        w.name: Weight(w.name, _dtype(w.data_type, w.name, file), tuple(w.dims), w) for w in model.graph.initializer
    }
    graph = Graph(file, [i.name for i in model.graph.input], [o.name for o in model.graph.output], nodes, weights)
    for value in [*model.graph.input, *model.graph.output]:
        graph.dtypes[value.name] = _dtype(value.type.tensor_type.elem_type, value.name, file)
    return graph


def _dtype(number: int, tensor: str, file: Path) -> torch.dtype:
    if number not in DTYPES:
        raise OptPartitionError(
            "dtype is not supported", code="bad-graph/dtype", file=file, tensor=tensor, found=number
        )
    return DTYPES[number]


def _node(node: onnx.NodeProto) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    domain = "" if node.domain in ("", "ai.onnx") else node.domain + "."
    return Node(node.name, domain + node.op_type, tuple(node.input), tuple(node.output), attributes)


def read_weight(graph: Graph, weight: Weight) -> torch.Tensor | None:
    """The weight's numbers on the CPU; None if its file is not there, as in plans without weights."""
    proto = weight.proto
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return _from_numpy(numpy_helper.to_array(proto), weight.dtype)
    where = {entry.key: entry.value for entry in proto.external_data}
    file = (graph.file.parent / where["location"]).resolve()
    if graph.file.parent.resolve() not in file.parents:
        raise graph.error(
            "external data outside the graph's folder",
            tensor=weight.name,
            code="bad-graph/external-data",
            found=where["location"],
        )
    if not file.exists():
        return None
    length = weight.elements * weight.dtype.itemsize
    numbers = numpy.zeros(length, dtype=numpy.uint8)
    with file.open("rb") as stream:
        stream.seek(int(where.get("offset", 0)))
        if stream.readinto(numbers.data) != length:
            raise graph.error(
                "the file of weights is too short",
                tensor=weight.name,
                code="bad-graph/external-data",
                expected=f"{length} bytes",
            )
    return (
        torch.from_numpy(numbers).view(weight.dtype).reshape(weight.shape)
        if length
        else torch.empty(weight.shape, dtype=weight.dtype)
    )


def _from_numpy(array: numpy.ndarray, dtype: torch.dtype) -> torch.Tensor:
    array = numpy.array(array, order="C")  # a copy: torch wants to own what may be written
    if dtype == torch.bfloat16:  # numpy has no such type; onnx gives ml_dtypes'
        return torch.from_numpy(array.view(numpy.int16)).view(torch.bfloat16).reshape(array.shape)
    return torch.from_numpy(array)


def random_weight(weight: Weight, dtype: torch.dtype, seed: int, owner: int, device: torch.device) -> torch.Tensor:
    """Numbers for a weight that has none, drawn on the device. The generator is of the seed, the name and the first
    rank that holds this shard, so copies on several ranks are equal."""
    digest = hashlib.sha256(f"{seed}/{weight.name}/{owner}".encode()).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "little"))
    if not dtype.is_floating_point:
        return torch.zeros(weight.shape, dtype=dtype, device=device)
    return torch.empty(weight.shape, dtype=dtype, device=device).normal_(0.0, 0.02, generator=generator)
