"""Shards: how clips and pieces are stored in tar files, found in them, and read from a disk or a server."""

from framework.aliases import attributes_of

__getattr__ = attributes_of("datamodules.shards.writer")
