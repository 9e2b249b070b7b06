"""Helpers of `p25_siblings.py`."""
