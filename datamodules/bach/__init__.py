"""Bach's chorales: the corpus, its splits, and what is rendered from it."""
