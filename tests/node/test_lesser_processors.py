"""The instructions that other processors get: the same check bytes with vectors of 128 and of 256 bits."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from node.ecc import CODES

NAMES = ("vertical_parity", "vertical_pd", "vertical_ssc", "vertical_chipkill", "vertical_hsiao", "rs_255_223")
ONLY_PROVING = pytest.mark.skipif("FLIGHTNODE_PROVE" not in os.environ, reason="compiles everything once more")
SCRIPT = """
import sys
import numpy as np
from node import jit
from node.ecc import CODES
data = np.random.default_rng(5).integers(0, 256, 223 * 100, dtype=np.uint8)
print(jit.vector_bits(), "gfni" in jit.cpu_features())
for name in sys.argv[1:]:
    print(CODES[name].encode(data).tobytes().hex())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of the features are those of x86")
@pytest.mark.parametrize(
    ("bits", "features"),
    (
        (128, "+sse2"),
        pytest.param(256, "+avx,+avx2,+popcnt", marks=[pytest.mark.proof, ONLY_PROVING]),
    ),
)
def test_check_bytes_do_not_depend_on_the_processor(bits, features):
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-c", SCRIPT, *NAMES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    said, *made = done.stdout.split("\n")
    assert said == f"{bits} False"
    data = np.random.default_rng(5).integers(0, 256, 223 * 100, dtype=np.uint8)
    assert made[: len(NAMES)] == [CODES[name].encode(data).tobytes().hex() for name in NAMES]
