"""The songs of POP909 (Wang et al., 2020)."""
