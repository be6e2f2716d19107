"""Kernels of operators over any shape: strided views, reductions, products of activations, recurrent cells."""
