"""A small GPT from nothing: attention, blocks, training step and sampling, all in this file.

    python examples/small_gpt.py novel.txt

Without a file it reads the modules of Python's standard library. `cr.models.LanguageModel` has the
same network with a key-value cache, so it writes faster.
"""

from __future__ import annotations

import argparse
import math
import sysconfig
import time
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim


class Attention(nn.Module):
    """Each position reads the positions before it, in several heads: (N, T, C) -> (N, T, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        self.heads = heads
        self.queries, self.keys, self.values, self.out = (
            nn.Linear(channels, channels, bias=False) for _ in range(4)
        )

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        n, t, c = x.shape
        split = (n, t, self.heads, c // self.heads)
        q, k, v = (
            cr.moveaxis(layer(x).reshape(split), 2, 1)
            for layer in (self.queries, self.keys, self.values)
        )
        scores = q @ k.mT / math.sqrt(c // self.heads)  # (N, heads, T, T)
        future = np.triu(np.ones((t, t), bool), 1)
        weights = cr.softmax(cr.where(future, -np.inf, scores))
        return self.out(cr.moveaxis(weights @ v, 1, 2).reshape((n, t, c)))


class Block(nn.Module):
    """Attention, then a network of two layers; each adds to what it reads, normalised."""

    def __init__(self, channels: int, heads: int) -> None:
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.network = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.network(self.norm2(x))


class GPT(nn.Module):
    """Scores of each next token: (N, T) -> (N, T, vocabulary), T up to the context."""

    def __init__(self, vocabulary: int, context: int, channels: int, heads: int, depth: int):
        self.context = context
        self.tokens = nn.Embedding(vocabulary, channels)
        self.positions = nn.Embedding(context, channels)
        self.blocks = nn.Sequential(*(Block(channels, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, vocabulary)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = self.tokens(x) + self.positions(np.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def write(model: GPT, codes: np.ndarray, length: int, temperature: float = 0.7) -> np.ndarray:
    """Continue one token at a time; the window is always full, so it is compiled once."""
    source = cr.random.Generator(0)

    @cr.compile
    def following(window: cr.Tensor, place: cr.Tensor) -> cr.Tensor:
        return source.categorical(model(window)[0, place] / temperature)

    with cr.no_grad():
        for _ in range(length):
            window = codes[-model.context :]
            padded = np.pad(window, (0, model.context - len(window)))  # later ones are not read
            code = following(padded[None], np.array(len(window) - 1))
            codes = np.append(codes, code.item())
    return codes


def python_sources() -> str:
    """The modules at the top of Python's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join(p.read_text("utf-8", "replace") for p in sorted(folder.glob("*.py")))


def main(arguments: list[str] | None = None) -> float:
    """Train, write a text, and return the bits per character of the held-out part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="a text in UTF-8")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--write", type=int, default=500, help="characters to write at the end")
    options = parser.parse_args(arguments)

    text = cr.data.read_text(options.file) if options.file else python_sources()
    cut = int(0.95 * len(text))
    characters = cr.data.Characters.fit(text[:cut])
    codes = characters.encode(text[:cut])
    x_valid, y_valid = cr.data.windows(characters.encode(text[cut:]), options.context)

    cr.random.seed(0)
    model = GPT(len(characters), options.context, options.channels, options.heads, options.depth)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = optim.WarmupCosine(optimizer, options.steps // 20, options.steps)
    print(f"{len(text)} characters, {sum(p.size for p in model.parameters())} parameters")

    @cr.compile
    def step(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    draw, places = np.random.default_rng(0), np.arange(options.context)
    began, shown = time.perf_counter(), time.perf_counter()
    for k in range(options.steps):
        starts = draw.integers(0, len(codes) - options.context, options.batch)
        windows = starts[:, None] + places
        loss = step(codes[windows], codes[windows + 1])
        schedule.step()
        if k == 0 or time.perf_counter() - shown > 10:
            shown = time.perf_counter()
            print(f"step {k + 1}: loss {float(loss):.3f}, {shown - began:.0f} s", flush=True)

    valid = cr.train.evaluate(model, (x_valid, y_valid), "cross_entropy", batch_size=options.batch)
    bits = valid["loss"] / math.log(2)
    print(f"held out: {bits:.3f} bits per character")
    start = characters.encode(text[cut : cut + 50])
    print(characters.decode(write(model.eval(), start, options.write)))
    return bits


if __name__ == "__main__":
    main()
