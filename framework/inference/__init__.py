"""What makes trained networks fast: layouts of memory, incremental convolutions, compiled streams."""
