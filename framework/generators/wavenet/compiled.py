"""WaveNet's compiled sampling step: `wavenet.cpp` behind the interface of `EagerSteps`."""

import ctypes
import weakref
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from framework.audio.mu_law import decode
from framework.generators.wavenet.weights import SamplingWeights
from framework.losses.likelihood import Distribution, Gaussian, LogisticMixture, MuLawSoftmax
from framework.native.build import library


class Shape(ctypes.Structure):
    """Sizes and constants of a network and its distribution, as in `wavenet.cpp`."""

    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("layers", "taps", "residual", "units", "skip", "levels", "outputs", "gated", "mixtures")
        ),
        *((name, ctypes.c_float) for name in ("residual_scale", "skip_scale", "smallest_log_scale")),
    ]


class Tensors(ctypes.Structure):
    """Weights of a network, as in `wavenet.cpp`."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in (
            "dilations",
            "first",
            "first_bias",
            "past",
            "current",
            "paths",
            "residual_bias",
            "skip_bias",
            "last",
            "last_out",
            "last_bias",
            "last_out_bias",
        )
    ]


def address(tensor: Tensor | None) -> int | None:
    """Return where a contiguous tensor's values are."""
    return None if tensor is None else tensor.data_ptr()


class CompiledSteps:
    """Streams that are sampled by the compiled step, one thread for each share of the batch.

    Args:
        weights: Weights of the network.
        distribution: One that `supports` accepts.
        bias: Biases of the streams `(batch, layers, gates)`.
        initial: First input of the streams: levels or samples, float32 `(batch,)`.
        threads: Most threads to use; the result is the same with any.
    """

    def __init__(
        self, weights: SamplingWeights, distribution: Distribution, bias: Tensor, initial: Tensor, threads: int = 1
    ) -> None:
        native = library("wavenet")
        if native is None or not self.supports(distribution):
            raise ValueError("there is no compiled step here for this distribution: use EagerSteps")
        self.weights, self.distribution = weights, distribution
        for name in ("wavenet_network", "wavenet_streams"):
            getattr(native, name).restype = ctypes.c_void_p
        # The library keeps some tensors and copies others.
        self.paths = torch.cat([weights.residual, weights.skip], dim=-1)
        shape, tensors = self._describe()
        network = ctypes.c_void_p(native.wavenet_network(ctypes.byref(shape), ctypes.byref(tensors)))
        weakref.finalize(self, native.wavenet_forget_network, network)

        self.biases = [part.contiguous() for part in bias.chunk(min(threads, len(bias)))]
        self.streams = []
        begun = 0
        for part in self.biases:
            start = initial[begun : begun + len(part)].contiguous()
            begun += len(part)
            rows = ctypes.c_int64(len(part))
            arguments = (network, rows, ctypes.c_void_p(address(part)), ctypes.c_void_p(address(start)))
            self.streams.append(ctypes.c_void_p(native.wavenet_streams(*arguments)))
            weakref.finalize(self, native.wavenet_forget_streams, self.streams[-1])
        self.native = native

    @staticmethod
    def supports(distribution: Distribution) -> bool:
        """Whether the compiled step draws from such a distribution; not from a subclass, which may do it otherwise."""
        return type(distribution) in (MuLawSoftmax, LogisticMixture, Gaussian)

    def _describe(self) -> tuple[Shape, Tensors]:
        w, distribution = self.weights, self.distribution
        layers, taps, residual, _ = w.past.shape
        shape = Shape(
            layers=layers,
            taps=taps + 1,
            residual=residual,
            units=w.residual.shape[1],
            skip=len(w.skip_bias),
            levels=len(w.first),
            outputs=w.last[1].shape[1],
            gated=w.gated,
            mixtures=getattr(distribution, "mixtures", 0),
            residual_scale=w.residual_scale,
            skip_scale=w.skip_scale,
            smallest_log_scale=getattr(distribution, "smallest_log_scale", 0.0),
        )
        tensors = (
            *(w.dilations, w.first, w.first_bias, w.past, w.current, self.paths, w.residual_bias, w.skip_bias),
            *(*w.last, *w.last_bias),
        )
        return shape, Tensors(*map(address, tensors))

    def run(
        self,
        uniforms: Tensor,
        temperature: float,
        condition: Tensor | None = None,
        forced: Tensor | None = None,
        parameters: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Sample on: see `EagerSteps.run`."""
        batch, _, time = uniforms.shape
        # Time first: what a step needs lies together.
        chances = self._chances(uniforms).permute(2, 0, 1)
        projected = None
        if condition is not None:
            assert self.weights.condition is not None
            projected = condition.permute(2, 0, 1) @ self.weights.condition
        following = None if forced is None else forced.float().T
        drawn = torch.empty(batch, time)
        outputs = torch.empty(batch, self.weights.last[1].shape[1], time) if parameters else None

        def share(stream: ctypes.c_void_p, first: int, last: int) -> None:
            def part(tensor: Tensor | None) -> Tensor | None:
                return None if tensor is None else tensor[:, first:last].contiguous()

            inputs = [part(tensor) for tensor in (chances, projected, following)]
            own = torch.empty(time, last - first)
            own_outputs = None if outputs is None else torch.empty(time, last - first, outputs.shape[1])
            pointers = [ctypes.c_void_p(address(tensor)) for tensor in (*inputs, own, own_outputs)]
            self.native.wavenet_sample(
                stream, ctypes.c_int64(time), pointers[0], ctypes.c_float(temperature), *pointers[1:]
            )
            drawn[first:last] = own.T
            if outputs is not None and own_outputs is not None:
                outputs[first:last] = own_outputs.permute(1, 2, 0)

        ends = torch.tensor([0] + [len(part) for part in self.biases]).cumsum(0).tolist()
        shares = list(zip(self.streams, ends[:-1], ends[1:], strict=True))
        if len(shares) == 1:
            share(*shares[0])
        else:
            with ThreadPoolExecutor(len(shares)) as pool:
                list(pool.map(lambda arguments: share(*arguments), shares))
        audio = decode(drawn.long(), len(self.weights.first)) if len(self.weights.first) > 1 else drawn
        return audio, None if outputs is None else outputs[:, : self.weights.outputs]

    def _chances(self, uniforms: Tensor) -> Tensor:
        """Return `(batch, 2, time)`: the uniform that chooses, and the quantile of a density's value."""
        if isinstance(self.distribution, MuLawSoftmax):
            return uniforms.expand(-1, 2, -1)
        if isinstance(self.distribution, LogisticMixture):
            return torch.stack([uniforms[:, 0], self.distribution.quantile(uniforms[:, 1])], dim=1)
        assert isinstance(self.distribution, Gaussian)
        return self.distribution.quantile(uniforms).expand(-1, 2, -1)
