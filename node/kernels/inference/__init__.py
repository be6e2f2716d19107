"""Kernels of the inference engine: two interpreters over a table of steps, and a kernel for each operator."""
