"""Blind listening tests of a comparison: pages to rate it by ear, a server that stores answers, and what they say."""
