"""Kernels of the codes: word by word (horizontal), and by columns through blocks of memory (vertical)."""
