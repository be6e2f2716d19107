"""Slow twins of the inference kernels: one step on a memory of bytes, one value at a time."""

from __future__ import annotations

import math

import numpy as np

from node.model.steps import Opcode, Step


def fma_f32(a, b, c) -> np.float32:
    """a * b + c with one rounding.

    The product of two float32 is exact in float64. The sum is rounded to odd in float64 (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums", 2008), so that rounding it again to float32 is right.
    """
    product, c = np.float64(a) * np.float64(b), np.float64(c)
    total = product + c
    if not np.isfinite(total):
        return np.float32(total)
    back = total - product
    error = (product - (total - back)) + (c - back)
    if error != 0.0 and not int(np.float64(total).view(np.uint64)) & 1:
        total = np.nextafter(total, np.inf if error > 0 else -np.inf)
    return np.float32(total)


def clamp(value: np.float32, step: Step) -> np.float32:
    low = np.uint32(step.low).view(np.float32)
    high = np.uint32(step.high).view(np.float32)
    value = low if value < low else value
    return high if value > high else value


def quantised(value, step: Step) -> int:
    """Byte of a real value, as the type of the output stores it."""
    value = float(value)
    if math.isnan(value):
        value = 0.0
    rounded = int(np.rint(min(max(value, -1e9), 1e9))) + step.zero_out
    return min(max(rounded, step.low), step.high) & 255


def wrap(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


class Memory:
    """Typed access by byte offset."""

    def __init__(self, u8: np.ndarray) -> None:
        self.u8 = u8

    def f32(self, offset: int) -> np.float32:
        return self.u8[offset : offset + 4].view(np.float32)[0]

    def put_f32(self, offset: int, value) -> None:
        self.u8[offset : offset + 4].view(np.float32)[0] = value

    def i32(self, offset: int) -> int:
        return int(self.u8[offset : offset + 4].view(np.int32)[0])

    def byte(self, offset: int, signed: bool) -> int:
        value = int(self.u8[offset])
        return value - 256 if signed and value > 127 else value


def taps(step: Step, y: int, x: int):
    """Kernel row and column and input row and column of each tap, input None where it overhangs."""
    for ky in range(step.kernel_h):
        for kx in range(step.kernel_w):
            iy = y * step.stride_h - step.pad_top + ky * step.dilation_h
            ix = x * step.stride_w - step.pad_left + kx * step.dilation_w
            inside = 0 <= iy < step.in_h and 0 <= ix < step.in_w
            yield ky, kx, ((iy * step.in_w + ix) * step.in_c if inside else None)


def outputs(step: Step):
    for y in range(step.out_h):
        for x in range(step.out_w):
            for c in range(step.out_c):
                yield y, x, c, (y * step.out_w + x) * step.out_c + c


def packed_place(step: Step, channel: int, k: int, depth: int) -> tuple[int, int]:
    """Index of weight (k, channel) and of the channel's bias in panels of 16, group by group."""
    per_group = step.out_c // step.groups
    panels = -(-per_group // 16)
    group, within = divmod(channel, per_group)
    panel, lane = divmod(within, 16)
    place = group * panels + panel
    return (place * depth + k) * 16 + lane, place * 16 + lane


def conv(memory: Memory, step: Step) -> None:
    integer = step.opcode == Opcode.CONV_INT8
    in_group, out_group = step.in_c // step.groups, step.out_c // step.groups
    depth = step.kernel_h * step.kernel_w * in_group
    for y, x, c, place in outputs(step):
        first = c // out_group * in_group
        total = None
        bias = packed_place(step, c, 0, depth)[1]
        total = memory.i32(step.bias + 4 * bias) if integer else memory.f32(step.bias + 4 * bias)
        k = 0
        for _, _, source in taps(step, y, x):
            for i in range(in_group):
                weight = packed_place(step, c, k, depth)[0]
                k += 1
                if integer:
                    # Padding is the byte of the zero point: 0 unless a strike made a zero point that is no byte.
                    byte = memory.u8[step.in_a + source + first + i] if source is not None else step.zero_a & 255
                    value = int(byte) - (256 if step.signed & 1 and byte > 127 else 0) - step.zero_a
                    total += value * memory.byte(step.weights + weight, True)
                else:
                    value = memory.f32(step.in_a + 4 * (source + first + i)) if source is not None else np.float32(0)
                    total = fma_f32(value, memory.f32(step.weights + 4 * weight), total)
        finish(memory, step, (total, place, memory.f32(step.scales + 4 * bias) if integer else None))


def finish(memory: Memory, step: Step, result: tuple) -> None:
    total, place, scale = result
    if scale is None:
        memory.put_f32(step.out + 4 * place, clamp(total, step))
    else:
        memory.u8[step.out + place] = quantised(np.float32(wrap(total)) * scale, step)


def depthwise(memory: Memory, step: Step) -> None:
    integer = step.opcode == Opcode.DEPTHWISE_INT8
    for y, x, c, place in outputs(step):
        total = memory.i32(step.bias + 4 * c) if integer else memory.f32(step.bias + 4 * c)
        for ky, kx, source in taps(step, y, x):
            if source is None:
                continue
            weight = (ky * step.kernel_w + kx) * step.in_c + c
            if integer:
                value = memory.byte(step.in_a + source + c, bool(step.signed & 1)) - step.zero_a
                total += value * memory.byte(step.weights + weight, True)
            else:
                total = fma_f32(memory.f32(step.in_a + 4 * (source + c)), memory.f32(step.weights + 4 * weight), total)
        finish(memory, step, (total, place, memory.f32(step.scales + 4 * c) if integer else None))


def pool_f32(memory: Memory, step: Step) -> None:
    largest = step.opcode == Opcode.MAX_POOL_F32
    for y, x, c, place in outputs(step):
        met = [memory.f32(step.in_a + 4 * (s + c)) for _, _, s in taps(step, y, x) if s is not None]
        if largest:
            result = np.float32(-np.inf)
            for value in met:
                result = value if value > result or np.isnan(value) else result
        else:
            result = np.float32(0)
            for value in met:
                result = result + value
            count = step.kernel_h * step.kernel_w if step.count == 1 else len(met)
            result = result / np.float32(count)
        memory.put_f32(step.out + 4 * place, result)


def pool_int8(memory: Memory, step: Step) -> None:
    largest = step.opcode == Opcode.MAX_POOL_INT8
    scale_in, scale_out = memory.f32(step.scales), memory.f32(step.scales + 4)
    for y, x, c, place in outputs(step):
        met = [
            memory.byte(step.in_a + s + c, bool(step.signed & 1)) - step.zero_a
            for _, _, s in taps(step, y, x)
            if s is not None
        ]
        total = max(met, default=-(2**30)) if largest else sum(met)
        count = 1 if largest else (step.kernel_h * step.kernel_w if step.count == 1 else len(met))
        value = np.float32(total) / np.float32(count) * scale_in / scale_out
        memory.u8[step.out + place] = quantised(value, step)


def add_f32(memory: Memory, step: Step) -> None:
    for i in range(step.in_c):
        value = memory.f32(step.in_a + 4 * i) + memory.f32(step.in_b + 4 * (i % step.count))
        memory.put_f32(step.out + 4 * i, clamp(value, step))


def clamp_f32(memory: Memory, step: Step) -> None:
    for i in range(step.in_c):
        memory.put_f32(step.out + 4 * i, clamp(memory.f32(step.in_a + 4 * i), step))


def softmax_f32(memory: Memory, step: Step) -> None:
    """exp and sum in float64: the kernel's own exp is compared within a tolerance."""
    for line in range(step.in_w):
        places = [4 * (line * step.in_c + i) for i in range(step.in_c)]
        values = np.array([memory.f32(step.in_a + p) for p in places], np.float32)
        weights = np.exp((values - values.max()).astype(np.float64))
        for place, weight in zip(places, weights / weights.sum(), strict=True):
            memory.put_f32(step.out + place, np.float32(weight))


def transpose(memory: Memory, step: Step) -> None:
    size = step.count
    for y in range(step.in_h):
        for x in range(step.in_w):
            source = step.in_a + (y * step.in_w + x) * size
            target = step.out + (x * step.in_h + y) * size
            memory.u8[target : target + size] = memory.u8[source : source + size]


def quantize(memory: Memory, step: Step) -> None:
    scale = memory.f32(step.scales)
    for i in range(step.in_c):
        memory.u8[step.out + i] = quantised(memory.f32(step.in_a + 4 * i) / scale, step)


def dequantize(memory: Memory, step: Step) -> None:
    scale = memory.f32(step.scales)
    for i in range(step.in_c):
        value = memory.byte(step.in_a + i, bool(step.signed & 1)) - step.zero_a
        memory.put_f32(step.out + 4 * i, np.float32(value) * scale)


def requantize(memory: Memory, step: Step) -> None:
    scale_in, scale_out = memory.f32(step.scales), memory.f32(step.scales + 4)
    for i in range(step.in_c):
        value = np.float32(memory.byte(step.in_a + i, bool(step.signed & 1)) - step.zero_a)
        memory.u8[step.out + i] = quantised(value * scale_in / scale_out, step)


def add_int8(memory: Memory, step: Step) -> None:
    scale_a, scale_b, scale_out = (memory.f32(step.scales + 4 * i) for i in range(3))
    for i in range(step.in_c):
        a = np.float32(memory.byte(step.in_a + i, bool(step.signed & 1)) - step.zero_a) * scale_a
        b = np.float32(memory.byte(step.in_b + i % step.count, bool(step.signed & 2)) - step.zero_b) * scale_b
        memory.u8[step.out + i] = quantised((a + b) / scale_out, step)


TWINS = {
    Opcode.CONV_F32: conv,
    Opcode.DEPTHWISE_F32: depthwise,
    Opcode.ADD_F32: add_f32,
    Opcode.CLAMP_F32: clamp_f32,
    Opcode.MAX_POOL_F32: pool_f32,
    Opcode.AVERAGE_POOL_F32: pool_f32,
    Opcode.SOFTMAX_F32: softmax_f32,
    Opcode.TRANSPOSE: transpose,
    Opcode.QUANTIZE: quantize,
    Opcode.DEQUANTIZE: dequantize,
    Opcode.CONV_INT8: conv,
    Opcode.DEPTHWISE_INT8: depthwise,
    Opcode.ADD_INT8: add_int8,
    Opcode.MAX_POOL_INT8: pool_int8,
    Opcode.AVERAGE_POOL_INT8: pool_int8,
    Opcode.REQUANTIZE: requantize,
}


def run_step(u8: np.ndarray, step: Step) -> None:
    """Run one valid step on a memory."""
    with np.errstate(all="ignore"):
        TWINS[Opcode(step.opcode)](Memory(u8), step)
