"""Packing: how recordings and MIDI files become shards."""
