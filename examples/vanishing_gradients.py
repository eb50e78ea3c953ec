"""An RNN whose gradients vanish or explode, on demand.

    python examples/vanishing_gradients.py --gain 0.9 1.2 1.5

The recurrent weights are an orthogonal matrix, which changes the length of no vector, times a gain.
On the way back through T steps the gradient is multiplied by it T times. The loss is a function of
the last state; the norm of its gradient with respect to the state after each step is printed and
drawn. tanh makes it smaller: its slope is below 1 everywhere except at 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.train.charts import lines


def gradient_norms(gain: float, steps: int, hidden: int, linear: bool) -> np.ndarray:
    """‖∂loss/∂h‖ after each step, (steps,)."""
    cr.random.seed(0)
    weight = nn.init.orthogonal_(cr.zeros((hidden, hidden)), gain=gain)
    inputs = 0.1 * cr.random.normal((steps, hidden))
    target = cr.random.normal((hidden,))

    def loss(nudges: cr.Tensor) -> cr.Tensor:
        """Each nudge, 0 here, is added to the state of its step: its gradient is the state's."""

        def step(state: cr.Tensor, now: tuple[cr.Tensor, cr.Tensor]) -> tuple[cr.Tensor, None]:
            x, nudge = now
            after = x + weight @ state
            return (after if linear else cr.tanh(after)) + nudge, None

        last, _ = cr.scan(step, cr.zeros((hidden,)), (inputs, nudges))
        return ((last - target) ** 2).mean()

    gradients = cr.grad(loss)(cr.zeros((steps, hidden)))
    return cr.norm(gradients, axis=-1).numpy()


def main(arguments: list[str] | None = None) -> dict[float, float]:
    """Draw the norms, and return for each gain the first one as a share of the last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gain", type=float, nargs="+", default=[0.9, 1.2, 1.5])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--linear", action="store_true", help="without tanh: exactly gain ** T")
    parser.add_argument("--out", type=Path, default=Path("gradients.svg"))
    options = parser.parse_args(arguments)

    norms = {
        gain: gradient_norms(gain, options.steps, options.hidden, options.linear)
        for gain in options.gain
    }
    shares = {gain: float(values[0] / values[-1]) for gain, values in norms.items()}
    for gain, share in shares.items():
        what = "vanishes" if share < 0.01 else "explodes" if share > 100 else "stays"
        print(f"gain {gain:g}: after {options.steps} steps back {share:.3g} times as large, {what}")
    lines(
        {f"gain {gain:g}": values for gain, values in norms.items()},
        title="Norm of the gradient of the state",
        x_label="time step",
        y_label="norm",
        log_y=True,
    ).save(options.out)
    print(f"drawn in {options.out}")
    return shares


if __name__ == "__main__":
    main()
