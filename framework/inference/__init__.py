"""Fast inference on CPUs: channels-last memory layout, incremental convolutions, compiled streams."""
