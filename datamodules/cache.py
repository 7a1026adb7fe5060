"""The cache folder, by the name that data modules import it under."""

from framework.cache import cache_folder

__all__ = ["cache_folder"]
