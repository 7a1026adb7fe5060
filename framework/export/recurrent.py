"""Recurrent layers as a scan over time, which graphs have for any length; PyTorch's own are unrolled for one."""

import torch
from torch import Tensor, nn

from framework.private_names.of_torch import scan


class ScannedLSTM(nn.Module):
    """An LSTM that computes the same (Hochreiter & Schmidhuber, 1997, with forget gates).

    Args:
        lstm: The one whose output it has: of one direction, without projection.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, hidden: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Transform a whole signal `(time, batch, channels)`; the state behind it is not given."""
        rest = hidden.new_zeros(hidden.shape[1], self.lstm.hidden_size)
        for of_input, of_hidden, *biases in self.lstm.all_weights:
            gates = torch.nn.functional.linear(hidden, of_input, sum(biases))  # type: ignore[arg-type]
            hidden = scanned(gates, of_hidden, rest)
        return hidden, None


def scanned(gates: Tensor, weight: Tensor, rest: Tensor) -> Tensor:
    """Return the outputs `(time, batch, channels)` of a layer whose gates have `(time, batch, 4 * channels)` so far."""

    def step(state: tuple[Tensor, Tensor], now: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        output, cell = state
        enter, keep, new, leave = (now + output @ weight.T).chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        output = leave.sigmoid() * cell.tanh()
        # What is carried on may not be what is given out.
        return (output, cell), output.clone()

    return scan(step, (rest, rest.clone()), gates, dim=0)[1]
