"""What is computed, what is right, and what would be critical."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.configuration import CampaignFile
from hil.campaign.predicate import guarded, load_predicate
from hil.compiler import compile_model, open_inputs
from node.computer import Computer
from node.model.image import Image
from node.service import split_samples

Arrays = Mapping[str, NDArray[np.generic]]
Critical = Callable[[dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]], int], bool]
"""``critical(golden, delivered, sample) -> bool``: would this wrong output do harm?"""

NO_CLASS = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A compiled model with inputs and golden outputs.

    Parameters
    ----------
    image : Image
        The compiled model.
    inputs : mapping of str to ndarray
        One array per model input, first axis = sample.
    golden : tuple of bytes
        The undisturbed output of every sample, as the node delivers it (all output tensors one after the other).
    labels : ndarray or None
        The right class of every sample, where known.
    critical_name : str
        ``top1``, ``labels``, ``tolerance=X`` or ``module:function``.
    critical : callable
        The predicate itself.
    sequence : int
        Samples in a row, from the first state, that belong together; 1 where the model keeps no state.
    """

    image: Image
    inputs: Arrays
    golden: tuple[bytes, ...]
    labels: NDArray[np.integer] | None
    critical_name: str
    critical: Critical
    sequence: int = 1

    @property
    def n_inputs(self) -> int:
        """Number of samples."""
        return len(self.golden)

    @property
    def n_sequences(self) -> int:
        """Number of whole sequences; without state, of samples."""
        return self.n_inputs // self.sequence

    @property
    def digest(self) -> str:
        """Hash of everything that decides an outcome: model, inputs, labels, and what is critical."""
        digest = hashlib.sha256(f"{self.image.digest} {self.critical_name}".encode())
        for name in sorted(self.inputs):
            digest.update(name.encode() + np.ascontiguousarray(self.inputs[name]).tobytes())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, dtype=np.int64).tobytes())
        return digest.hexdigest()

    def inputs_file(self) -> bytes:
        """Give the inputs as the .npz file that the node loads."""
        return inputs_archive(self.inputs)

    def tensors(self, output: bytes) -> dict[str, NDArray[np.generic]]:
        """Cut a delivered output into its named tensors."""
        tensors = {}
        start = 0
        for spec in self.image.outputs:
            count = int(np.prod(spec.shape, dtype=np.int64))
            array = np.frombuffer(output, np.dtype(spec.dtype), count, start)
            tensors[spec.name] = array.reshape(spec.shape)
            start += array.nbytes
        return tensors

    def is_right(self, sample: int, output: bytes) -> bool:
        """True where a delivered output is the golden one, bit by bit; one NaN is as good as any other.

        Which bits a NaN has differs from CPU to CPU.
        """
        golden = self.golden[sample]
        return output == golden or self._canonical(output) == self._canonical(golden)

    def _canonical(self, output: bytes) -> bytes:
        return b"".join(_one_nan(array).tobytes() for array in self.tensors(output).values())

    def is_critical(self, sample: int, output: bytes) -> bool:
        """True where the delivered output of a sample would do harm."""
        return bool(self.critical(self.tensors(self.golden[sample]), self.tensors(output), sample))


def inputs_archive(inputs: Arrays) -> bytes:
    """Give arrays as the content of an .npz file; equal arrays give equal bytes, so that a node knows what it holds."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(inputs):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:  # of a fixed date
                np.lib.format.write_array(member, np.ascontiguousarray(inputs[name]), allow_pickle=False)
    return file.getvalue()


def load_workload(campaign: CampaignFile) -> Workload:
    """Compile the campaign's model, load its inputs and labels, and run every sample once, undisturbed.

    Raises
    ------
    ModelError, DataError, ConfigError
        A file cannot be used; the message names it.
    """
    path = campaign.inputs_path
    shapes = open_inputs(campaign.model_path)
    inputs = load_arrays(path)
    first = load_arrays(campaign.initial_state_path) if campaign.initial_state_path else None
    image = compile_model(campaign.model_path, _shapes_of_samples(shapes, inputs), campaign.workload.state, first)
    labels = None
    if campaign.labels_path is not None:
        held = inputs["labels"] if campaign.labels_path == path else _array_of(campaign.labels_path)
        labels = checked_labels(held, campaign.labels_path)
    settings = campaign.workload
    critical = critical_predicate(
        settings.critical, tolerance=settings.tolerance, labels=labels, directory=campaign.directory
    )
    try:
        workload = make_workload(image, inputs, labels, critical, sequence=campaign.campaign.inferences)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    workload.is_critical(0, workload.golden[0])  # a predicate that cannot be called is found before a run, not in it
    return workload


def _shapes_of_samples(open_shapes: Mapping[str, int], inputs: Arrays) -> dict[str, tuple[int, ...]]:
    """Give inputs whose shape the model leaves open (so many dimensions) the shape that their samples have."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, dimensions in open_shapes.items():
        if name in inputs and inputs[name].ndim in (dimensions, dimensions + 1):
            sample = inputs[name].shape[1:]
            shapes[name] = sample if len(sample) == dimensions else (1, *sample)
    return shapes


def load_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Give the arrays of an .npz file by name."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz archive of plain arrays ({error}); write it with numpy.savez") from None


def _array_of(path: Path) -> NDArray[np.generic]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not an .npy file of plain numbers ({error}); write it with numpy.save") from None
    return np.asarray(array)


def checked_labels(labels: NDArray[np.generic], path: Path) -> NDArray[np.integer]:
    """Give the labels if they are integers, one a sample."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels must be a one-dimensional array of integers, one a sample")
    return labels.astype(np.int64)


def make_workload(
    image: Image,
    inputs: Arrays,
    labels: NDArray[np.integer] | None,
    critical: tuple[str, Critical],
    sequence: int = 1,
) -> Workload:
    """Run every sample once, undisturbed, and give the workload with its golden outputs.

    Parameters
    ----------
    sequence : int
        Inferences of a run. A model with state gets its samples in sequences of so many, each from the beginning.

    Raises
    ------
    DataError
        Inputs or labels do not fit the model.
    """
    samples = split_samples(image, dict(inputs))
    if labels is not None and len(labels) != len(samples):
        raise DataError(f"labels: {len(labels)} for {len(samples)} samples: give one a sample")
    if image.states and len(samples) < sequence:
        raise DataError(
            f"{len(samples)} samples: a model with state takes sequences of inferences = {sequence} samples in a row: "
            "give that many or more, or lower inferences"
        )
    golden = []
    with Computer(image) as computer:
        for number, sample in enumerate(samples):
            if image.states and number % sequence == 0:
                computer.reset()
            computer.write_inputs(sample)
            computer.engine.run()
            golden.append(computer.engine.output_bytes())
    kept = {spec.name: inputs[spec.name] for spec in image.inputs}
    name, predicate = critical
    return Workload(
        image=image,
        inputs=kept,
        golden=tuple(golden),
        labels=labels,
        critical_name=name,
        critical=predicate,
        sequence=sequence if image.states else 1,
    )


def critical_predicate(
    name: str, *, tolerance: float, labels: NDArray[np.integer] | None, directory: Path
) -> tuple[str, Critical]:
    """Give the predicate of that name, and the name that stands in the record.

    Parameters
    ----------
    name : str
        ``top1``: the winning class differs from golden; ``labels``: golden was right and the delivered class is
        wrong; ``tolerance``: any value differs by more than ``tolerance`` times the largest golden value;
        ``module:function``: the user's own.
    directory : Path
        The campaign's folder, in which the user's module is looked for first.
    """
    match name:
        case "top1":
            return name, lambda golden, delivered, _sample: _top1(golden) != _top1(delivered)
        case "tolerance":
            return (
                f"{name}={tolerance:g}",
                lambda golden, delivered, _sample: relative_error(golden, delivered) > tolerance,
            )
        case "labels":
            if labels is None:
                raise ConfigError("critical = 'labels' needs labels: add labels = FILE.npy to [workload]")
            right = [int(label) for label in labels]
            return name, lambda golden, delivered, sample: _top1(golden) == right[sample] != _top1(delivered)
    return name, guarded(name, load_predicate(name, directory, "[workload]"))


def relative_error(golden: Arrays, delivered: Arrays) -> float:
    """Give the largest absolute difference relative to the largest golden value; inf where not finite."""
    worst = 0.0
    for name, right in golden.items():
        with np.errstate(invalid="ignore"):  # a struck value may be a signalling NaN, which widening makes quiet
            given, wanted = delivered[name].astype(np.float64), right.astype(np.float64)
        differs = (given != wanted) & ~(np.isnan(given) & np.isnan(wanted))
        difference = np.abs(np.subtract(given, wanted, out=np.zeros_like(wanted), where=differs))
        scale = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))) or 1.0
        largest = float(np.max(difference, initial=0.0)) / scale
        worst = max(worst, largest) if np.isfinite(largest) else float("inf")
    return worst


def _top1(arrays: Arrays) -> int:
    """Give the winning class of the first output, of equals the first; -1, no class, where there is a NaN.

    What a search for the largest value makes of a NaN depends on how it was written, so nothing may rest on it.
    """
    first = next(iter(arrays.values())).reshape(-1)
    if first.dtype.kind == "f" and np.isnan(first).any():
        return NO_CLASS
    return int(np.argmax(first))


def _one_nan(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.where(np.isnan(array), array.dtype.type(np.nan), array) if array.dtype.kind == "f" else array
