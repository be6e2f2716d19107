"""Fault injectors side by side: the exact engine, onnxruntime driven in four ways, torch, and tools built on it."""
