"""The window of a convolution or a pool: kernel, strides, padding and the shape that comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hil.compiler.graph import Node
from hil.compiler.program import Tensor
from node.model.steps import Step


@dataclass(frozen=True, kw_only=True)
class Window:
    """Two-dimensional; a sequence has height 1."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    begin: tuple[int, int]
    out: tuple[int, int]

    def shape(self, tensor: Tensor, out_channels: int) -> tuple[int, ...]:
        """Give the shape of what comes out of a tensor."""
        out = self.out if len(tensor.shape) == 4 else self.out[1:]
        return (tensor.shape[0], out_channels, *out)

    def apply(self, step: Step, tensor: Tensor, out_channels: int) -> Step:
        """Give the step with the shapes and the window filled in."""
        return replace(
            step,
            in_h=tensor.height,
            in_w=tensor.width,
            in_c=tensor.channels,
            out_h=self.out[0],
            out_w=self.out[1],
            out_c=out_channels,
            kernel_h=self.kernel[0],
            kernel_w=self.kernel[1],
            stride_h=self.stride[0],
            stride_w=self.stride[1],
            pad_top=self.begin[0],
            pad_left=self.begin[1],
            dilation_h=self.dilation[0],
            dilation_w=self.dilation[1],
        )


@dataclass(frozen=True, kw_only=True)
class Span:
    """A window along one axis: ``begin`` and ``end`` are the padding, ``out`` the number of positions."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    out: int

    @property
    def reach(self) -> int:
        """Elements, padding included, that the last position needs from the first padded one on."""
        return (self.out - 1) * self.stride + self.dilation * (self.kernel - 1) + 1


def spans_of(node: Node, shape: tuple[int, ...], kernel: tuple[int, ...]) -> list[Span]:
    """Read the window attributes of a node that sees an input through ``kernel``, one span an axis."""
    rank = len(shape) - 2
    if rank < 1 or len(kernel) != rank:
        raise node.error(f"input of shape {shape}, kernel {kernel}: a window needs a batch, channels and an axis each")
    sizes = shape[2:]
    strides = _attribute(node, "strides", rank)
    dilations = _attribute(node, "dilations", rank)
    begins, ends = _padding(node, (sizes, kernel, strides, dilations))
    ceil = bool(node.attributes.get("ceil_mode", 0)) and node.attributes.get("auto_pad", "NOTSET") == "NOTSET"
    spans = []
    for i in range(rank):
        free = sizes[i] + begins[i] + ends[i] - (dilations[i] * (kernel[i] - 1) + 1)
        count = (-(-free // strides[i]) if ceil else free // strides[i]) + 1
        if ceil and (count - 1) * strides[i] >= sizes[i] + begins[i]:
            count -= 1  # A window that would begin in the padding at the end is left out.
        if free < 0 or begins[i] < 0 or count < 1:
            raise node.error(f"the window does not fit into an input of shape {shape}: check the shapes")
        spans.append(
            Span(
                size=sizes[i],
                kernel=int(kernel[i]),
                stride=strides[i],
                dilation=dilations[i],
                begin=begins[i],
                end=ends[i],
                out=count,
            )
        )
    return spans


def window_of(node: Node, tensor: Tensor, kernel: tuple[int, ...]) -> Window:
    """Read the window attributes of a node that sees ``tensor``, of one or two axes, through ``kernel``."""
    spans = spans_of(node, tensor.shape, kernel)
    if len(spans) > 2:
        raise node.error(f"input of shape {tensor.shape}: one or two spatial dimensions are supported")
    if len(spans) == 1:
        spans.insert(0, Span(size=1, kernel=1, stride=1, dilation=1, begin=0, end=0, out=1))
    return Window(
        kernel=(spans[0].kernel, spans[1].kernel),
        stride=(spans[0].stride, spans[1].stride),
        dilation=(spans[0].dilation, spans[1].dilation),
        begin=(spans[0].begin, spans[1].begin),
        out=(spans[0].out, spans[1].out),
    )


def _attribute(node: Node, name: str, rank: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in node.attributes.get(name, rank * [1]))
    if len(values) != rank or any(v < 1 for v in values):
        raise node.error(f"{name} = {list(values)}: give {rank} positive numbers")
    return values


def _padding(node: Node, spans: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sizes, kernel, strides, dilations = spans
    rank = len(sizes)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            out = -(-size // stride)
            totals.append(max(0, (out - 1) * stride + dilation * (k - 1) + 1 - size))
        small = tuple(total // 2 for total in totals)
        large = tuple(total - total // 2 for total in totals)
        return (small, large) if auto == "SAME_UPPER" else (large, small)
    if auto not in ("NOTSET", "VALID"):
        raise node.error(f"auto_pad = {auto!r}: choose NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    pads = [0] * 2 * rank if auto == "VALID" else node.attributes.get("pads", [0] * 2 * rank)
    if len(pads) != 2 * rank or any(p < 0 for p in pads):
        raise node.error(f"pads = {list(pads)}: give {2 * rank} numbers, 0 or more")
    return tuple(map(int, pads[:rank])), tuple(map(int, pads[rank:]))
