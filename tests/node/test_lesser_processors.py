"""The instructions that other processors get: the same check bytes with vectors of 128 and of 256 bits."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from node.digest import CRC_32C, Crc
from node.ecc import CODES
from node.jit import cpu_features

NAMES = ("vertical_parity", "vertical_pd", "vertical_ssc", "vertical_chipkill", "vertical_hsiao", "rs_255_223")
ONLY_PROVING = pytest.mark.skipif("FLIGHTNODE_PROVE" not in os.environ, reason="compiles everything once more")
SCRIPT = """
import sys
import numpy as np
from node import jit
from node.digest import CRC_32C, Crc
from node.ecc import CODES
from node.kernels.codes import crc
data = np.random.default_rng(5).integers(0, 256, 223 * 100, dtype=np.uint8)
print(jit.vector_bits(), "gfni" in jit.cpu_features(), crc.MULTIPLIER_BITS)
for name in sys.argv[1:]:
    print(CODES[name].encode(data).tobytes().hex())
print([Crc(CRC_32C)(data[:size]) for size in (0, 100, 600, 5000, data.size)])
"""

INFERENCE = """
import numpy as np
import hil
from hil.workloads import digits
from node.kernels.inference import dots
from node.model.effects import engine_of

print(dots.DOT_U8 or dots.HALF_VNNI)
for kind in ("f32", "int8"):
    engine, _ = engine_of(hil.compile_model(digits(kind).model_path))
    with np.load(digits(kind).inputs_path) as held:
        pictures = held["image"][:20].reshape(-1, 1, 1, 8, 8).astype(np.float32)
    for picture in pictures:
        engine.write_input("image", picture)
        engine.run()
        print(engine.output_bytes().hex())
"""


def outputs_with(features: str | None) -> list[str]:
    """Give what INFERENCE prints, compiled for this processor or for one with some features alone."""
    lesser = {} if features is None else {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-c", INFERENCE]
    done = subprocess.run(command, env=os.environ | lesser, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.split("\n")


@pytest.mark.proof
@ONLY_PROVING
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of the features are those of x86")
@pytest.mark.parametrize(
    ("features", "dots"),
    (
        ("+sse2", "False"),
        ("+popcnt,+sse4.2,+ssse3", "False"),
        ("+avx,+avx2,+fma", "False"),
        ("+avx,+avx2,+fma,+avxvnni", "True"),
    ),
)
def test_outputs_do_not_depend_on_the_processor(features, dots):
    if "avxvnni" in features and "avxvnni" not in cpu_features():
        pytest.skip("this processor has no AVX-VNNI")
    said, *outputs = outputs_with(features)
    assert said == dots
    assert outputs == outputs_with(None)[1:]
    assert len(set(outputs)) > 20


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of the features are those of x86")
@pytest.mark.parametrize(
    ("bits", "multiplier_bits", "features"),
    (
        (128, 128, "+sse2,+pclmul"),
        pytest.param(128, 0, "+sse2", marks=[pytest.mark.proof, ONLY_PROVING]),
        pytest.param(256, 256, "+avx,+avx2,+pclmul,+popcnt,+vpclmulqdq", marks=[pytest.mark.proof, ONLY_PROVING]),
    ),
)
def test_check_bytes_and_digests_do_not_depend_on_the_processor(bits, multiplier_bits, features):
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-c", SCRIPT, *NAMES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    said, *made = done.stdout.split("\n")
    assert said == f"{bits} False {multiplier_bits}"
    data = np.random.default_rng(5).integers(0, 256, 223 * 100, dtype=np.uint8)
    assert made[: len(NAMES)] == [CODES[name].encode(data).tobytes().hex() for name in NAMES]
    assert made[len(NAMES)] == str([Crc(CRC_32C).by_tables(data[:size]) for size in (0, 100, 600, 5000, data.size)])
