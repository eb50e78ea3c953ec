"""The training step of the workloads in other libraries, and the control: a process per figure.

Run as chainrule's own process.py is: `python peers.py PROGRAM WORK SECONDS`. The steps are the same
except for scikit-learn's, which does not clip. Networks in jax are in peers_jax.py.
"""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# By its path: importing chainrule would add its memory to that of the peers.
PACKAGE = Path(find_spec("chainrule").origin).parent
process = runpy.run_path(str(PACKAGE / "cli" / "workloads" / "process.py"), run_name="process")
workloads = process["workloads"]


def torch_compile(work):
    """Images are channels last: as fast as channels first, or faster."""
    import torch

    return workloads.programs.torch(work, torch.compile, channels_last=True)


def jax_jit(work):
    """Parameters and optimizer state are donated: updated in place."""
    import jax
    import jax.numpy as jnp
    import optax

    networks = runpy.run_path(str(Path(__file__).with_name("peers_jax.py")))["NETWORKS"]
    params, network = networks[type(work).__name__](work)
    rule = optax.adam(workloads.programs.RATE)
    if work.clips:
        rule = optax.chain(optax.clip_by_global_norm(workloads.programs.NORM), rule)

    def loss_of(params, x, y):
        outputs = network(params, x)
        if not work.clips:
            return jnp.mean((outputs - y) ** 2)
        logits = jax.nn.log_softmax(outputs)
        return -jnp.mean(jnp.take_along_axis(logits, y[..., None], -1))

    def update(params, state, x, y):
        loss, gradients = jax.value_and_grad(loss_of)(params, x, y)
        changes, state = rule.update(gradients, state)
        return optax.apply_updates(params, changes), state, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    x, y = map(jnp.asarray, work.rows())
    state = rule.init(params)

    def step():
        nonlocal params, state
        params, state, loss = compiled(params, state, x, y)
        jax.block_until_ready(params)
        return loss

    return step


def scikit_learn(work):
    from sklearn.neural_network import MLPClassifier

    x, y = work.rows()
    model = MLPClassifier(
        work.sizes[1:-1],
        batch_size=work.batch,
        learning_rate_init=workloads.programs.RATE,
        alpha=0.0,
    )
    classes = np.arange(work.sizes[-1])
    return lambda: model.partial_fit(x, y, classes=classes)


def control(_):
    a = np.ones((512, 512), np.float32)
    return lambda: a @ a


if __name__ == "__main__":
    process["main"](
        {
            "torch.compile": torch_compile,
            "jax.jit": jax_jit,
            "scikit-learn": scikit_learn,
            "control": control,
        }
    )
