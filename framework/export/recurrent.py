"""Recurrent layers as a scan over time, which is exported for any length; PyTorch's are unrolled for one length."""

import torch
from torch import Tensor, nn

from framework.private_names.of_torch import scan


class ScannedLSTM(nn.Module):
    """An LSTM that computes the same (Hochreiter & Schmidhuber, 1997, with forget gates).

    Args:
        lstm: The layer to replace: unidirectional, without projection.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, hidden: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Transform a whole signal `(time, batch, channels)`; the final state is not returned."""
        rest = hidden.new_zeros(hidden.shape[1], self.lstm.hidden_size)
        for of_input, of_hidden, *biases in self.lstm.all_weights:
            gates = torch.nn.functional.linear(hidden, of_input, sum(biases))  # type: ignore[arg-type]
            hidden = scanned(gates, of_hidden, rest)
        return hidden, None


def scanned(gates: Tensor, weight: Tensor, rest: Tensor) -> Tensor:
    """Return the outputs `(time, batch, channels)` of a layer, given its input gates `(time, batch, 4 * channels)`."""

    def step(state: tuple[Tensor, Tensor], now: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        output, cell = state
        enter, keep, new, leave = (now + output @ weight.T).chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        output = leave.sigmoid() * cell.tanh()
        # The carried state and the output must not be the same tensor.
        return (output, cell), output.clone()

    return scan(step, (rest, rest.clone()), gates, dim=0)[1]
