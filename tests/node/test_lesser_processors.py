"""The instructions that other processors get: the same check bytes with vectors of 128 and of 256 bits."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from node.digest import CRC_32C, Crc
from node.ecc import CODES

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
