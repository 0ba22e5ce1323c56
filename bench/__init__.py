"""Benchmarks: figures of design section 8 as ratios, measured in one run. ``python -m bench``."""
