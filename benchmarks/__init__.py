"""Benchmarks: commands whose results are committed under ``results/``."""
