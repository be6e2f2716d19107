"""Kernels of the incremental engine: what one fault changes, spread through a model whose golden values are kept."""
