"""The denoiser: pictures of a camera in orbit, cleaned by a model whose memory is struck, unprotected and protected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError, DataError
from firmware_bridge.messages import Fault
from hil.campaign.workload import load_arrays
from hil.compiler import compile_model
from hil.demos.pair import Pair, strikes
from hil.progress import ProgressEvent, ProgressSink
from hil.strikes import Stream
from node.model.image import Image
from node.protection import Protection

REGIONS = ("weights",)
PROTECTIONS = {
    "unprotected": Protection(),
    "protected": Protection(code="hsiao_72_64", regions=REGIONS, verify_on_use=True),
}
ARRAYS = ("original", "noised", "orbit_denoised")
LEVELS = 255.0

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DenoiseOptions:
    """Which model, which pictures, how many strikes on each of them, from which seed, on which nodes."""

    model: Path
    pictures: Path
    strikes: int = 30
    seed: int = 1
    target: str = "pty"

    def __post_init__(self) -> None:
        if not 0 <= self.strikes <= 10_000:
            raise ConfigError(f"--strikes {self.strikes}: give 0 to 10000")


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """One result: the picture (None where the node gave none) and how far it is from two others, in dB.

    ``to_original`` and ``to_orbit`` are peak signal-to-noise ratios, taken before the picture is rounded.
    """

    name: str
    picture: Picture | None
    to_original: float
    to_orbit: float
    corrected: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture: what the camera saw, what was given, what came down, and what the nodes made of it."""

    original: Picture
    noised: Picture
    orbit_denoised: Picture
    results: tuple[Cleaned, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All pictures, and mean figures over them."""

    model: str
    strikes: int
    seed: int
    frames: tuple[Frame, ...]

    def mean(self, name: str, field: str) -> float:
        """Give the mean of ``to_original`` or ``to_orbit`` of one kind of result, in dB, over its pictures.

        The mean is that of the squared errors, so that it is the ratio of all pictures as one.
        """
        ratios = [getattr(result, field) for frame in self.frames for result in frame.results if result.name == name]
        return float(-10.0 * np.log10(np.mean(10.0 ** (-np.array(ratios) / 10.0))))


def denoise(options: DenoiseOptions, progress: ProgressSink) -> Gallery:
    """Clean every picture three times: undisturbed, and struck on an unprotected and on a protected node.

    Raises
    ------
    ModelError, DataError
        The model cannot be compiled or is none for pictures, or the pictures are not as described.
    """
    held = load_pictures(options.pictures)
    height, width = held["noised"].shape[1:3]
    image = compile_model(options.model, _open_shape(options.model, height, width))
    name = _input_for(image, held["noised"], options)
    inputs = {name: (held["noised"].transpose(0, 3, 1, 2) / LEVELS).astype(np.float32)}
    frames = []
    protections = tuple(PROTECTIONS.values())
    with Pair(options.target, image, inputs, protections=protections, progress=progress) as pair:
        count = len(held["noised"])
        for number in range(count):
            stream = Stream(f"denoise {options.seed}", number, "strikes")
            faults = strikes(image, REGIONS, stream, options.strikes)
            frames.append(_frame(pair, held, number, faults))
            progress(ProgressEvent(stage="denoise", done=number + 1, total=count))
    return Gallery(model=str(options.model), strikes=options.strikes, seed=options.seed, frames=tuple(frames))


def load_pictures(path: Path) -> dict[str, Picture]:
    """Give the arrays of a file of pictures, each uint8 [pictures, height, width, 3] of one shape.

    Raises
    ------
    DataError
        One is missing, or has another type or shape.
    """
    held = load_arrays(path)
    found: dict[str, Picture] = {}
    for name in ARRAYS:
        if name not in held:
            raise DataError(f"{path}: no array {name!r}: give {', '.join(ARRAYS)}, uint8 [pictures, height, width, 3]")
        array = held[name]
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not len(array):
            raise DataError(
                f"{path}: {name!r} is {array.dtype} {list(array.shape)}: give uint8 [pictures, height, width, 3]"
            )
        found[name] = array.astype(np.uint8)
    shapes = {array.shape for array in found.values()}
    if len(shapes) > 1:
        raise DataError(f"{path}: the arrays differ in shape ({sorted(shapes)}): give the same pictures in each")
    return found


def psnr(result: NDArray[np.generic], reference: Picture) -> float:
    """Give the peak signal-to-noise ratio in dB of values 0 to 255; infinite where they are equal.

    Examples
    --------
    >>> round(psnr(np.full((2, 2), 1.0), np.zeros((2, 2), np.uint8)), 2)
    48.13
    """
    error = float(np.mean((result.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(LEVELS**2 / error))


def _open_shape(model: Path, height: int, width: int) -> dict[str, tuple[int, ...]] | None:
    from hil.compiler import open_inputs

    return {name: (1, 3, height, width) for name, rank in open_inputs(model).items() if rank == 4} or None


def _input_for(image: Image, pictures: Picture, options: DenoiseOptions) -> str:
    """Give the name of the model's input, if it takes these pictures and gives such pictures."""
    wanted = (1, 3, *pictures.shape[1:3])
    taken, given = image.inputs, image.outputs
    fits = len(taken) == len(given) == 1 and all(spec.dtype == "float32" for spec in (*taken, *given))
    if not fits or taken[0].shape != wanted or given[0].shape != wanted:
        shapes = [[spec.dtype, list(spec.shape)] for spec in (*taken, *given)]
        raise DataError(
            f"{options.model}: takes and gives {shapes}: {options.pictures} needs one input and one output "
            f"float32 {list(wanted)}, red, green and blue from 0 to 1"
        )
    return taken[0].name


def _frame(pair: Pair, held: dict[str, Picture], number: int, faults: tuple[Fault, ...]) -> Frame:
    """Clean one picture; the undisturbed result is that of the node which is not protected either."""
    runs = [("undisturbed", 0, ())] + [(name, node, faults) for node, name in enumerate(PROTECTIONS)]
    original, orbit = held["original"][number], held["orbit_denoised"][number]
    results = []
    for name, node, struck in runs:
        answer = pair.run(node, number, struck, isolate=True)
        if answer.output is None:
            results.append(
                Cleaned(
                    name=name, picture=None, to_original=0.0, to_orbit=0.0, corrected=answer.corrected, why=answer.why
                )
            )
            continue
        values = _values(answer.output, original.shape)
        results.append(
            Cleaned(
                name=name,
                picture=np.rint(values).astype(np.uint8),
                to_original=psnr(values, original),
                to_orbit=psnr(values, orbit),
                corrected=answer.corrected,
            )
        )
    return Frame(original=original, noised=held["noised"][number], orbit_denoised=orbit, results=tuple(results))


def _values(output: bytes, shape: tuple[int, ...]) -> Floats:
    """Give an output as levels [height, width, 3]; what is no number is black."""
    height, width, channels = shape
    levels = LEVELS * np.frombuffer(output, np.float32).reshape(channels, height, width).transpose(1, 2, 0)
    return np.clip(np.nan_to_num(levels.astype(np.float64), nan=0.0), 0.0, LEVELS)
