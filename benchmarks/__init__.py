"""HOW FAST: every goal is a ratio of two things measured alternately in the same process.

``python -m benchmarks [GROUP]`` holds the ratios against ``goals.toml``; ``pytest benchmarks/`` times the same
functions one by one with pytest-benchmark.
"""
