"""What a board computes, printed: run by Python for aarch64 and by this one, and compared.

``board_side.py codes NAME...`` prints check bytes; ``board_side.py outputs FOLDER`` the outputs of every image in a
folder, ``NAME.img`` with its inputs ``NAME.npz``; ``board_side.py effects FOLDER`` what single faults do to them. It
imports what a board has.
"""

import sys
from pathlib import Path

import numpy as np

FAULTS = 300


def codes(names):
    from node.digest import CRC_32C, Crc
    from node.ecc import CODES

    data = np.random.default_rng(5).integers(0, 256, 223 * 64, dtype=np.uint8)
    small = (data.view(np.int8) >> 1).view(np.uint8)  # what a code within the weights wants of them
    for name in names:
        code, struck = CODES[name], (small if name.startswith("in_place") else data).copy()
        check = code.encode(struck)
        struck[::640] ^= 4
        report = code.correct(struck, check)
        print(name, check.tobytes().hex(), report, struck.tobytes().hex())
    print([Crc(CRC_32C)(data[:size]) for size in (0, 100, 600, 5000, data.size)])


def images(folder):
    from node.model.image import Image

    for path in sorted(Path(folder).glob("*.img")):
        with np.load(path.with_suffix(".npz")) as held:
            arrays = dict(held)
        count = len(next(iter(arrays.values())))
        yield path.stem, Image.load(path), [{name: array[i] for name, array in arrays.items()} for i in range(count)]


def outputs(folder):
    from node.computer import Computer

    for name, image, samples in images(folder):
        with Computer(image) as computer:
            for sample in samples:
                found = computer.infer(sample)
                print(name, {key: value.tobytes().hex() for key, value in found.items()})


def effects(folder):
    from node.model.effects import Faults
    from node.model.incremental import IncrementalEngine

    for name, image, samples in images(folder):
        engine = IncrementalEngine(image, samples)
        rng = np.random.default_rng(7)
        sizes = (("weights", len(image.weights)), ("activations", image.activation_bytes))
        for region, size in sizes:
            bits, steps = rng.integers(0, 8 * size, FAULTS), rng.integers(0, len(image.steps), FAULTS)
            faults = Faults(region=region, bits=bits, steps=steps * (region == "activations"))
            found = engine.effects(faults, keep_outputs=True)
            order = np.lexsort(found.index.T)
            print(name, region, found.codes.tobytes().hex(), found.index[order].tolist())
            print(found.outputs[order].tobytes().hex())


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "codes":
        codes(arguments)
    else:
        {"outputs": outputs, "effects": effects}[what](*arguments)
