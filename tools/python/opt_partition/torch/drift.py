"""How far two right runs of an adaptive optimizer may lie apart.

Adam and RMSprop divide a gradient by the root of its mean square, so a number whose gradient is as small as rounding
is moved as far as all others, and rounding decides how far and which way. From u = m / (r + eps), r the root of the
mean square and |m| <= r, an error d of each gradient changes u by at most 2 d / (r + eps), and never by more than 2.
The runner knows r of each number after each step; what it gives in sum is allowed of the parameter's number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy
from torch import Tensor

from .training import Training

# A gradient that is 0 but for rounding (a key's bias: softmax does not see it) is this small beside all others.
_NOISE = 1e-5


class Drift:
    """`allowed` is the error of a gradient, of the largest number of its tensor."""

    def __init__(self, training: Training, allowed: float) -> None:
        self.training = training
        self.allowed = allowed
        self.steps = 0
        self.kinds = {  # outputs of the step, by the state's kind and its parameter
            (str(entry.more["kind"]), str(entry.more["parameter"])): entry.name
            for entry in training.plan.outputs
            if entry.role == "state"
        }
        self.of: dict[str, numpy.ndarray] = {}  # whole, at rank 0, by names such as parameters/NAME

    def follow(self, outputs: Mapping[str, Tensor]) -> None:
        """After each step; all ranks meet here."""
        self.steps += 1
        moments = {name: outputs[name] for (kind, _), name in self.kinds.items() if kind in _MOMENTS}
        whole = self.training.runner.join(moments, {})
        roots = {
            parameter: numpy.sqrt(numpy.maximum(self._mean_square(whole, parameter), 0) / self._grown())
            for kind, parameter in self.kinds
            if kind in _SQUARES and whole
        }
        largest = max((float(root.max(initial=0)) for root in roots.values()), default=0.0)
        for parameter, root in roots.items():
            size = float(root.max(initial=0))
            error = self.allowed * size if size >= _NOISE * largest else math.inf
            with numpy.errstate(divide="ignore", invalid="ignore"):
                change = numpy.fmin(2.0, 2 * error / (root + self._setting("eps", 1e-8)))
            self._add(f"parameters/{parameter}", self.training.rate * self._reach() * change)
            if ("momentum_buffer", parameter) in self.kinds:  # RMSprop's, which sums up what is moved
                self._add(f"state/{parameter}/momentum_buffer", self._reach() * change)

    def _add(self, name: str, change: numpy.ndarray) -> None:
        self.of[name] = self.of.get(name, numpy.zeros(())) + change

    def _setting(self, name: str, otherwise: float) -> float:
        return float(self.training.plan.json["training"].get(name, otherwise))

    def _mean_square(self, whole: Mapping[str, numpy.ndarray], parameter: str) -> numpy.ndarray:
        (square,) = (whole[self.kinds[kind, parameter]] for kind in _SQUARES if (kind, parameter) in self.kinds)
        mean = self.kinds.get(("grad_avg", parameter))  # of a centered RMSprop
        return square.astype(numpy.float64) - (whole[mean].astype(numpy.float64) ** 2 if mean else 0.0)

    def _smoothing(self) -> float:
        adam = self.training.plan.json["training"]["optimizer"] != "rmsprop"
        return self._setting("beta2", 0.999) if adam else self._setting("alpha", 0.99)

    def _grown(self) -> float:
        """What a mean that began with 0 is of the mean of the numbers so far."""
        return 1 - self._smoothing() ** self.steps

    def _reach(self) -> float:
        """What a change of 1 of u changes in what is moved. RMSprop divides by the mean as it has grown so far, and its
        momentum repeats what was added."""
        if self.training.plan.json["training"]["optimizer"] != "rmsprop":
            return 1.0
        return 1 / math.sqrt(self._grown()) / (1 - self._setting("momentum", 0.0))


_SQUARES = ("exp_avg_sq", "square_avg")
_MOMENTS = (*_SQUARES, "grad_avg")
