"""The library that experiments are made of."""

from framework import aliases, shelf

aliases.install()
shelf.install()
