"""Beside this file, `reference` is importable: the reference vectors of official implementations."""

import torch

# Several processes test at once, and small tensors gain nothing from threads.
torch.set_num_threads(1)
