"""C++ sources for operations that are slow in PyTorch, and their fallbacks where no compiler is installed."""
