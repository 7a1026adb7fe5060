"""C++ sources for what PyTorch is slow at, and what they do in PyTorch where they cannot be compiled."""
