"""Blind listening tests of a comparison: pages for listeners, a server that stores answers, and their statistics."""
