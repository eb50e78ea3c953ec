"""Continuing a sequence of tokens with a model: sampling, greedy, beam search.

A model of sequences is a module that is called `model(tokens, state) -> (scores, state)`:

tokens   (N, T) whole numbers
state    None at the beginning, then what the call before returned: the state of a recurrent layer,
         or the caches of attention (`empty_cache`); tensors, in tuples, lists and dicts; () if the
         scores depend on the last token alone
scores   (N, T, V) unnormalised log-probabilities of what follows each token

The prompt is one call. Each further token is one too, compiled: its shapes are always the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import random, tree
from ..compile import compile as compiled
from ..dtypes import is_integer
from ..errors import ArgumentError, DtypeError, RangeError, ShapeError, user_line
from ..functions import indexing, reductions, sorting
from ..functions.elementwise import where
from ..graph import Array, spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor, no_grad
from .arguments import expect_integers, expect_number
from .module import Module

MOST = 1e6  # the largest temperature: all scores that are not -inf are the same by then


@explain_arguments
def sample(
    scores: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: random.Generator | None = None,
) -> Tensor:
    """Tokens with probabilities softmax(scores / temperature) on the last axis: (..., V) -> (...).

    temperature   from 0 to 10⁶: below 1 the likely ones are drawn more often; 0 draws the likeliest
                  (greedy)
    top_k         only the k likeliest (Fan et al., 2018); more than V are V
    top_p         only the likeliest, as few as have a probability of p together (Holtzman et al.,
                  2020); computed after top_k
    generator     the source of random numbers, `cr.random` by default
    """
    scores = as_tensor(scores)
    expect_number("sample", "temperature", temperature, 1.0, least=0, most=MOST)
    if top_k is not None:
        expect_integers("sample", 1, top_k=top_k)
    if top_p is not None:
        expect_number("sample", "top_p", top_p, 0.9, above=0, most=1)
    if temperature == 0:
        return reductions.argmax(scores, axis=-1)
    source = random.default if generator is None else generator
    scores = (scores - reductions.max(scores, axis=-1, keepdims=True)) / temperature
    if top_k is None and top_p is None:
        return source.categorical(scores)
    order = sorting.argsort(scores, descending=True)[..., : top_k or scores.shape[-1]]
    ordered = indexing.take_along_axis(scores, order)
    if top_p is not None:
        likely = reductions.softmax(ordered)
        before = reductions.cumulative_sum(likely, axis=-1) - likely
        ordered = where(before < top_p, ordered, -np.inf)
    place = source.categorical(ordered)
    return indexing.take_along_axis(order, place[..., None])[..., 0]


@explain_arguments
def generate(
    model: Module,
    prompt: Any,
    steps: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    exclude: Collection[int] = (),
    end: int | None = None,
) -> Array:
    """The prompt and `steps` tokens after it: int64, (T + steps,) or (N, T + steps).

    prompt        (T,) or (N, T) whole numbers, T from 1
    temperature, top_k, top_p   as for `sample`; temperature=0 is greedy
    seed          the same seed gives the same tokens; by default `cr.random` is continued
    exclude       tokens that are never drawn, such as the one for unknown characters
    end           a token that ends a sequence: what would follow is `end` too, and where all have
                  ended the result may be shorter

    The model is in evaluation mode meanwhile.
    """
    tokens = _expect_prompt("generate", prompt)
    expect_integers("generate", 0, steps=steps)
    settings = temperature, top_k, top_p
    source = random.default if seed is None else random.Generator(seed)

    def drawn(scores: Tensor) -> Tensor:
        return sample(_without(scores[:, -1], exclude), *settings, source)[:, None]

    def follow(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        scores, state = model(tokens, state)
        return drawn(scores), state

    written = [tokens]
    with _evaluating(model), no_grad():
        advance = compiled(follow)
        if steps:
            scores, state = _first(model, tokens)
            new = drawn(scores)
        for k in range(steps):
            if k:
                new, state = advance(new, state)
            token = new.numpy()
            if end is not None:
                token = np.where((k > 0) & (written[-1][:, -1:] == end), end, token)
            written.append(token)
            if end is not None and (token == end).all():
                break
    out = np.concatenate(written, axis=1)
    return out if np.ndim(prompt) == 2 else out[0]


@explain_arguments
def beam_search(
    model: Module,
    prompt: Any,
    steps: int,
    *,
    width: int = 4,
    length_penalty: float = 1.0,
    exclude: Collection[int] = (),
    end: int | None = None,
) -> tuple[Array, Array]:
    """The likeliest continuations that are found by keeping the `width` best at each step.

    Their score is log p / Lᵃ: the log-probability of the new tokens, over the power a =
    length_penalty of their number L (up to the first `end`, which counts). a = 0 favours short
    sequences.

    prompt, steps, exclude, end   as for `generate`

    Returns tokens, int64 (width, T + steps) or (N, width, T + steps), the best first, and scores
    (width,) or (N, width). Of equal scores the one with the smaller token is first; where there
    are fewer than `width` sequences, the scores of the others are -inf.
    """
    tokens = _expect_prompt("beam_search", prompt)
    expect_integers("beam_search", 0, steps=steps)
    expect_integers("beam_search", 1, width=width)
    expect_number("beam_search", "length_penalty", length_penalty, 1.0)
    beams = _Beams(tokens, width, length_penalty, end)

    def likely(scores: Tensor) -> Tensor:
        return reductions.log_softmax(_without(scores[:, -1], exclude))

    with _evaluating(model), no_grad():
        if steps:
            scores, state = _first(model, beams.tokens)
            beams.extend(likely(scores).numpy())
            axes = _batch_axes(model, state, len(beams.tokens))

            def follow(tokens: Tensor, parents: Tensor, state: Any) -> tuple[Tensor, Any]:
                leaves, structure = tree.flatten(state)
                moved = [
                    leaf if axis is None else indexing.take(leaf, parents, axis=axis)
                    for leaf, axis in zip(leaves, axes, strict=True)
                ]
                scores, state = model(tokens, tree.unflatten(structure, moved))
                return likely(scores), state

            advance = compiled(follow)
        for _ in range(1, steps):
            if beams.ended.all():
                break
            logs, state = advance(Tensor(beams.tokens[:, -1:]), Tensor(beams.parents), state)
            beams.extend(logs.numpy())
    out = beams.tokens.reshape(len(tokens), width, -1)
    return (out, beams.scores) if np.ndim(prompt) == 2 else (out[0], beams.scores[0])


class _Beams:
    """The `width` best continuations of each of N prompts.

    tokens    (N · width, length), those of a prompt together, the best first
    parents   (N · width,) the row of `tokens` before the last step that each continues
    totals    (N, width) log p of the new tokens
    lengths   (N, width) how many new tokens count
    ended     (N, width) whether the end has come
    """

    def __init__(self, prompts: Array, width: int, length_penalty: float, end: int | None) -> None:
        shape = len(prompts), width
        self.tokens = np.repeat(prompts, width, axis=0)
        self.parents = np.arange(len(self.tokens))
        self.totals = np.full(shape, -np.inf)
        self.totals[:, 0] = 0.0  # all are equal at first, so one of them is continued
        self.lengths, self.ended = np.zeros(shape, np.int64), np.zeros(shape, bool)
        self._penalty, self._end = length_penalty, end

    @property
    def scores(self) -> Array:
        """log p / Lᵃ, (N, width)."""
        return _score(self.totals, self.lengths, self._penalty)

    def extend(self, logs: Array) -> None:
        """Continue each by one token, with log-probabilities (N · width, V), and keep the best."""
        count, width = self.totals.shape
        vocabulary = logs.shape[-1]
        options = logs.astype(np.float64).reshape(count, width, vocabulary)
        if self._end is not None:  # what has ended stays as it is
            options[self.ended] = np.where(np.arange(vocabulary) == self._end, 0.0, -np.inf)
        totals = self.totals[:, :, None] + options
        lengths = self.lengths + ~self.ended
        ranks = _score(totals, lengths[:, :, None], self._penalty).reshape(count, -1)
        best = np.argsort(-ranks, axis=-1, kind="stable")[:, :width]
        beam, token = np.divmod(best, vocabulary)
        prompt = np.arange(count)[:, None]
        self.totals = totals.reshape(count, -1)[prompt, best]
        self.lengths = lengths[prompt, beam]
        self.ended = self.ended[prompt, beam] | (token == self._end)
        self.parents = (prompt * width + beam).reshape(-1)
        self.tokens = np.concatenate([self.tokens[self.parents], token.reshape(-1, 1)], axis=1)


def _score(totals: Array, lengths: Array, penalty: float) -> Array:
    out: Array = totals / np.maximum(lengths, 1) ** float(penalty)
    return out


def _batch_axes(model: Module, state: Any, count: int) -> list[int | None]:
    """Which axis of each tensor of the state is the batch: the one that another batch changes."""
    axes: list[int | None] = []
    _, other = _first(model, np.zeros((count + 1, 1), np.int64))
    for a, b in zip(tree.flatten(state)[0], tree.flatten(other)[0], strict=True):
        sizes = zip(a.shape, b.shape, strict=True)
        axes.append(next((k for k, (n, m) in enumerate(sizes) if n != m), None))
    return axes


def _first(model: Module, tokens: Array) -> tuple[Tensor, Any]:
    """The scores and the state after the first tokens; an error for another kind of model."""
    out = model(Tensor(tokens), None)
    scores = out[0] if isinstance(out, tuple) and len(out) == 2 else None
    if not isinstance(scores, Tensor) or scores.ndim != 3:
        raise ArgumentError(
            "decoding",
            f"got {_described(out)} from {type(model).__name__}",
            "expected a model that returns (scores (N, T, V), state) for tokens (N, T) and a state",
            "write its forward(self, tokens, state=None) so",
            user_line(),
        )
    if out[1] is None:
        raise ArgumentError(
            "decoding",
            f"got the state None from {type(model).__name__}",
            "expected what the next call needs to go on after these tokens",
            "return the recurrent layer's state or attention's cache; () if only the last token "
            "matters",
            user_line(),
        )
    if np.isnan(scores[:, -1].numpy()).any():
        raise ArgumentError(
            "decoding",
            f"got scores that are NaN from {type(model).__name__}",
            "expected numbers, or -inf for tokens that cannot follow",
            "look for NaN in model.state_dict(): training with a lower lr, or clip_norm=1.0, "
            "avoids it",
            user_line(),
        )
    return scores, out[1]


def _described(out: Any) -> str:
    parts = out if isinstance(out, tuple) else (out,)
    named = [spec_text(p) if isinstance(p, Tensor) else type(p).__name__ for p in parts]
    return f"({', '.join(named)})" if isinstance(out, tuple) else named[0]


def _without(scores: Tensor, exclude: Collection[int]) -> Tensor:
    """The scores (N, V), -inf for these tokens."""
    if not exclude:
        return scores
    vocabulary = scores.shape[-1]
    wrong = [t for t in exclude if not 0 <= t < vocabulary]
    if wrong or len(set(exclude)) == vocabulary:
        raise RangeError(
            "decoding",
            f"got exclude={sorted(exclude)}",
            f"expected some of the {vocabulary} tokens, 0 to {vocabulary - 1}, and not all",
            "leave it out to draw every token",
            user_line(),
        )
    return where(Tensor(np.isin(np.arange(vocabulary), list(exclude))), -np.inf, scores)


def _expect_prompt(name: str, prompt: Any) -> Array:
    """The prompt as (N, T)."""
    tokens = as_tensor(prompt)
    if not is_integer(tokens.dtype) and tokens.size:
        raise DtypeError(
            name,
            f"got the prompt {spec_text(tokens)}",
            "expected whole numbers, one per token",
            "encode a text first: Characters.fit(text).encode(prompt)",
            user_line(),
        )
    if tokens.ndim not in (1, 2) or not tokens.shape[-1]:
        raise ShapeError(
            name,
            f"got the prompt {spec_text(tokens)}",
            "expected (T,) or (N, T) with one token or more",
            "begin with a token that may begin a text, such as the one of a new line",
            user_line(),
        )
    return np.atleast_2d(tokens.numpy()).astype(np.int64)


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode, and then the modes that the modules had."""
    before = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, training in before:
            if m.training != training:
                m.training = training
