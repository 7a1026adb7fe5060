"""Names of dependencies that are not public and that the project uses, each with the reason.

No other package uses any. Where a name disappeared or changed its meaning, some of these uses would fail silently: in
the numbers, not with an error. `tests/test_private_names.py` therefore checks every one of them with the installed
versions, and `pyproject.toml` bounds the versions; raise a bound when that test passes.
"""
