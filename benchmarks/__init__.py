"""HOW FAST: every goal is a ratio of two things measured alternately in the same process.

``python -m benchmarks [GROUP]`` holds the ratios against ``goals.toml``; ``pytest benchmarks/`` times the same
functions one by one with pytest-benchmark.
"""

import os

# Read when numpy is first imported: its products are held against ours on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
