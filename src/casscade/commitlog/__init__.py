"""From the bytes of a commit log to mutations, and back.

Invariant: bytes are never trusted: damage ends in an anomaly with its position or in `CorruptionError`, never in a
silent loss.
"""
