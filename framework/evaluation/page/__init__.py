"""The HTML page of a comparison: audio, pictures and tables of runs side by side, without a server."""
