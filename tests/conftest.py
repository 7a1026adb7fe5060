"""Beside this file, `reference` is importable: the reference vectors of official implementations."""
