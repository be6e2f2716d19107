"""Compiled checks on the computation."""
