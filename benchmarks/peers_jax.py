"""The networks of the workloads in jax: work -> (parameters, function of parameters and inputs).

Imported by peers.py, after the package `workloads`.
"""

from itertools import count, pairwise

import jax
import jax.numpy as jnp
from workloads.images import Conv, Linear, Residual, walk

_seeds = count()


def normal(*shape):
    return jax.random.normal(jax.random.PRNGKey(next(_seeds)), shape)


def linear(a, b):
    return {"w": normal(a, b) * a**-0.5, "b": jnp.zeros(b)}


def apply(layer, x):
    return x @ layer["w"] + layer["b"]


def norm(n):
    return {"scale": jnp.ones(n), "shift": jnp.zeros(n)}


def normed(norm, x, axes):
    """Of batch normalization without the running statistics."""
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * norm["scale"] + norm["shift"]


def layers(work):
    params = [linear(a, b) for a, b in pairwise(work.sizes)]

    def network(params, x):
        for layer in params[:-1]:
            x = jax.nn.relu(apply(layer, x))
        return apply(params[-1], x)

    return params, network


def lstm(work):
    v, e, h = work.vocabulary, work.inputs, work.hidden
    params = {
        "embedding": normal(v, e),
        "inputs": linear(e, 4 * h),
        "states": normal(h, 4 * h) * h**-0.5,
        "output": linear(h, v),
    }

    def network(params, x):
        gates = apply(params["inputs"], params["embedding"][x]).swapaxes(0, 1)

        def turn(state, own):
            h, c = state
            i, f, g, o = jnp.split(own + h @ params["states"], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((work.batch, h))
        _, states = jax.lax.scan(turn, (zero, zero), gates)
        return apply(params["output"], states.swapaxes(0, 1))

    return params, network


def gpt(work):
    width, heads = work.width, work.heads
    params = {
        "tokens": normal(work.vocabulary, width),
        "positions": jnp.zeros((work.steps, width)),
        "blocks": [
            {
                "norm1": norm(width),
                "norm2": norm(width),
                "qkv": linear(width, 3 * width),
                "joined": linear(width, width),
                "inner": linear(width, 4 * width),
                "outer": linear(4 * width, width),
            }
            for _ in range(work.blocks)
        ],
        "norm": norm(width),
        "output": linear(width, work.vocabulary),
    }

    def network(params, x):
        b, t = x.shape
        causal = jnp.tril(jnp.ones((t, t), bool))
        x = params["tokens"][x] + params["positions"]
        for block in params["blocks"]:
            qkv = apply(block["qkv"], normed(block["norm1"], x, -1))
            q, k, v = qkv.reshape(b, t, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
            scores = jnp.einsum("bhtd,bhsd->bhts", q, k) * (width // heads) ** -0.5
            weights = jax.nn.softmax(jnp.where(causal, scores, -1e30))
            attended = jnp.einsum("bhts,bhsd->bhtd", weights, v).transpose(0, 2, 1, 3)
            x = x + apply(block["joined"], attended.reshape(b, t, width))
            inner = jax.nn.gelu(apply(block["inner"], normed(block["norm2"], x, -1)))
            x = x + apply(block["outer"], inner)
        return apply(params["output"], normed(params["norm"], x, -1))

    return params, network


def factors(work):
    """optax has no Adam for the rows that were read: this one changes whole tables."""
    (users, items), width = work.tables, work.width
    params = {"users": normal(users, width), "items": normal(items, width), "biases": normal(items)}

    def network(params, x):
        user, item = x[:, 0], x[:, 1]
        return (params["users"][user] * params["items"][item]).sum(-1) + params["biases"][item]

    return params, network


def recurrence(work):
    n = work.hidden
    params = {
        "inputs": linear(work.inputs, 2 * n),
        "states": normal(n, 2 * n) * n**-0.5,
        "output": linear(n, work.classes),
    }

    def network(params, x):
        def turn(h, x):
            gates = apply(params["inputs"], x) + h @ params["states"]
            z = jax.nn.sigmoid(gates[:, :n])
            return z * h + (1 - z) * jnp.tanh(gates[:, n:]), None

        last, _ = jax.lax.scan(turn, jnp.zeros((work.batch, n)), x)
        return apply(params["output"], last)

    return params, network


def images(work):
    """Batch normalization leaves the running statistics out."""

    def network(params, x):
        return through(params, work.layers, x)

    return parameters(work.layers, work.shape), network


def parameters(layers, shape):
    """Those of each layer; None where it has none."""
    return [own(layer, read) for layer, read in walk(layers, shape)]


def own(layer, read):
    match layer:
        case Conv(outputs, kernel, groups=groups, bias=bias):
            shape = kernel, kernel, read[-1] // groups, outputs
            weight = normal(*shape) * (kernel * kernel * shape[2]) ** -0.5
            return {"w": weight} | ({"b": jnp.zeros(outputs)} if bias else {})
        case Linear(outputs):
            return linear(read[-1], outputs)
        case Residual(inner, shortcut):
            return parameters(inner, read), parameters(shortcut, read)
        case "norm":
            return norm(read[-1])


def through(params, layers, x):
    for own, layer in zip(params, layers, strict=True):
        match layer:
            case Conv(stride=stride, padding=padding, groups=groups, bias=bias):
                x = jax.lax.conv_general_dilated(
                    x,
                    own["w"],
                    (stride, stride),
                    [(padding, padding)] * 2,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=groups,
                )
                x = x + own["b"] if bias else x
            case Linear():
                x = apply(own, x)
            case Residual(inner, shortcut):
                x = through(own[0], inner, x) + through(own[1], shortcut, x)
            case "norm":
                x = normed(own, x, (0, 1, 2))
            case "relu":
                x = jax.nn.relu(x)
            case "relu6":
                x = jax.nn.relu6(x)
            case "pool":
                window = 1, 2, 2, 1
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            case "mean":
                x = x.mean((1, 2))
            case "flatten":
                x = x.reshape(x.shape[0], -1)
    return x


NETWORKS = {
    "Images": images,
    "Layers": layers,
    "Lstm": lstm,
    "Gpt": gpt,
    "Factors": factors,
    "Recurrence": recurrence,
}
