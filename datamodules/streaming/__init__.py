"""Batches from shards: what every streaming data module is made of."""
