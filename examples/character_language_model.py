"""A character language model: an LSTM that reads a text in parallel streams, and then writes.

    python examples/character_language_model.py novel.txt

Without a file it reads the modules of Python's standard library. `chainrule train novel.txt` does
the same, with a run folder and a report; this is what it does, in forty lines.
"""

from __future__ import annotations

import argparse
import math
import sysconfig
from pathlib import Path

import chainrule as cr
from chainrule import nn, optim


def python_sources() -> str:
    """The modules at the top of Python's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join(p.read_text("utf-8", "replace") for p in sorted(folder.glob("*.py")))


def main(arguments: list[str] | None = None) -> float:
    """Train, write a text, and return the bits per character of the held-out part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="a text in UTF-8")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--window", type=int, default=64, help="characters that gradients reach")
    parser.add_argument("--streams", type=int, default=64, help="parallel streams of the text")
    parser.add_argument("--write", type=int, default=500, help="characters to write at the end")
    options = parser.parse_args(arguments)

    text = cr.data.read_text(options.file) if options.file else python_sources()
    cut = int(0.95 * len(text))
    characters = cr.data.Characters.fit(text[:cut])
    codes, held_out = characters.encode(text[:cut]), characters.encode(text[cut:])
    print(f"{len(text)} characters, {len(characters)} different ones")

    # Each row of x is a stream; y is one character further on. Windows of a stream follow each
    # other, and the state of the LSTM is carried from one to the next (tbptt).
    cr.random.seed(0)
    model = cr.models.LanguageModel(len(characters), "lstm", hidden=options.hidden)
    optimizer = optim.AdamW(model.parameters(), lr=4e-3)
    history = cr.fit(
        model,
        cr.data.streams(codes, options.streams),
        valid=cr.data.streams(held_out, min(options.streams, len(held_out) // options.window)),
        loss="cross_entropy",
        optimizer=optimizer,
        epochs=options.epochs,
        batch_size=options.streams,
        tbptt=options.window,
        clip_norm=1.0,
    )
    bits = history["valid_loss"][-1] / math.log(2)
    print(f"held out: {bits:.3f} bits per character")

    prompt = characters.encode(text[cut : cut + 100])
    written = nn.decoding.generate(
        model, prompt, options.write, temperature=0.7, seed=0, exclude={0}
    )
    print(characters.decode(written))
    return bits


if __name__ == "__main__":
    main()
