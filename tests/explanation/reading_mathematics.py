"""Reads printed equations and computes with them on matrices of symbols.

    sum      :=  [−] series ((+ | −) series)*
    series   :=  Σ index series | product
    product  :=  item (⊙ item | / item | item)*     two items side by side: matrix product, or times
    item     :=  (sum) | function(sum) | name[places] | number | √item,  then ᵀ or ²

Arrays are of dtype object, with expressions of SymPy as elements; they broadcast as NumPy's do.
"""

import re

import numpy as np
import sympy

BELOW = dict(zip("₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789aehijklmnoprstuvx", strict=True))
NAME = r"(?:∂L/∂)?[A-Za-zδσμγβ](?:_\w+?(?=[ᵀ²]|\b)|[" + "".join(BELOW) + r"]+)?"
TOKEN = re.compile(rf"\s*(Σ[{''.join(BELOW)}]|[a-z]+(?=\()|{NAME}|\d+|.)")
FUNCTIONS = {
    "tanh": sympy.tanh,
    "exp": sympy.exp,
    "log": sympy.log,
    "σ": lambda x: 1 / (1 + sympy.exp(-x)),
}


def apply(name, x):
    if name == "softmax":
        powers = apply("exp", x)
        return powers / powers.sum(-1, keepdims=True)
    if name == "rowsum":
        return x.sum(-1, keepdims=True)
    return np.vectorize(FUNCTIONS[name], otypes=[object])(x)


class Reader:
    """Computes printed equations in turn.

    values   arrays by name; `h[t−1]` is a name, because t stands for one time
    sizes    how far an index counts
    classes  of `onehot`
    """

    def __init__(self, values, sizes=(), classes=0):
        self.values, self.sizes, self.classes = dict(values), dict(sizes), classes

    def run(self, text):
        """Every line with an equation, which is indented by 4; behind two spaces is a shape."""
        for line in text.splitlines():
            equation = re.match(r"    (\S.*?) = (.*?)(?:  |$)", line)
            if equation:
                self.assign(equation[1], self.evaluate(equation[2]))
        return self.values

    def assign(self, left, value):
        name, places = self.place_of(left)
        blocks = [re.fullmatch(r"(\d+):(\d+)", p) for p in places]
        if any(blocks):  # a block of a tensor, which grows
            ends = [int(b[2]) if b else n for b, n in zip(blocks, value.shape, strict=False)]
            ends += value.shape[len(ends) :]
            old = self.values.get(name, np.zeros([0] * value.ndim, object))
            new = np.zeros([max(a, b) for a, b in zip(ends, old.shape, strict=True)], object)
            new[tuple(slice(n) for n in old.shape)] = old
            at = tuple(slice(int(b[1]), int(b[2])) if b else slice(None) for b in blocks)
            new[at] = value
            value = new
        else:
            assert not places, left
        self.values[name] = value

    def place_of(self, text):
        """`z[t, :, 0:4]` is a block of the tensor `z[t]`."""
        name, _, inside = text.removesuffix("]").partition("[")
        places = [p.replace(" ", "") for p in inside.split(",")] if inside else []
        if "t" in "".join(places):
            times = [k for k, p in enumerate(places) if "t" in p]
            fixed = places[: times[0] + 1]
            return f"{name}[{','.join(fixed)}]", places[times[0] + 1 :]
        return name, places

    def evaluate(self, text):
        self.tokens, self.at, self.bound = TOKEN.findall(text), 0, {}
        out = self.sum()
        assert self.at == len(self.tokens), text
        return out

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, token):
        assert self.next() == token, (token, self.tokens, self.at)

    def sum(self):
        sign = -1 if self.peek() == "−" and self.next() else 1
        out = sign * self.series()
        while self.peek() in ("+", "−"):
            sign = -1 if self.next() == "−" else 1
            out = out + sign * self.series()
        return out

    def series(self):
        if not self.peek().startswith("Σ"):
            return self.product()
        index, start = BELOW[self.next()[1]], self.at
        out = 0
        for k in range(self.sizes[index]):
            self.at, self.bound[index] = start, k
            out = out + self.series()
        del self.bound[index]
        return out

    def product(self):
        out = self.item()
        while self.peek() and self.peek() not in "+−),]":
            if self.peek().startswith("Σ"):
                return out * self.series()
            match self.peek():
                case "⊙":
                    self.next()
                    out = out * self.item()
                case "/":
                    self.next()
                    out = out / self.item()
                case _:
                    other = self.item()
                    scalar = np.ndim(out) == 0 or np.ndim(other) == 0
                    out = out * other if scalar else out @ other
        return out

    def item(self):
        out = self.atom()
        while self.peek() in ("ᵀ", "²"):
            out = out.T if self.next() == "ᵀ" else out**2
        return out

    def atom(self):
        token = self.next()
        if token == "(":
            out = self.sum()
            self.expect(")")
            return out
        if token == "√":
            return sympy.sqrt(self.item())
        if token.isdigit() and token.isascii():
            return sympy.Integer(token)
        if self.peek() == "(":
            self.next()
            if token == "onehot":
                labels = self.values[self.next()]
                self.expect(")")
                return np.eye(self.classes, dtype=int)[labels].astype(object)
            out = apply(token, self.sum())
            self.expect(")")
            return out
        if self.peek() == "[":
            return self.element(token)
        return self.values[token]

    def element(self, name):
        depth, inside = 0, ""
        while True:
            token = self.next()
            depth += (token == "[") - (token == "]")
            inside += token
            if not depth:
                break
        name, places = self.place_of(name + inside.replace("−", " − "))
        out = self.values[name]
        return out[tuple(map(self.place, places))] if places else out

    def place(self, text):
        block = re.fullmatch(r"(\d*):(\d*)", text)
        if block:
            return slice(*(int(n) if n else None for n in block.groups()))
        lookup = re.fullmatch(r"(\w)\[(\w)\]", text)
        return self.values[lookup[1]][self.bound[lookup[2]]] if lookup else self.bound[text]


def symbols(name, *shape):
    """An array of symbols."""
    out = np.empty(shape, object)
    for at in np.ndindex(*shape):
        out[at] = sympy.Symbol("_".join([name, *map(str, at)]), real=True)
    return out


def equal(a, b):
    """Whether two arrays of expressions are equal, whatever values their symbols have."""
    a, b = np.broadcast_arrays(np.asarray(a, object), np.asarray(b, object))
    return all(_is_zero(sympy.sympify(x - y)) for x, y in zip(a.ravel(), b.ravel(), strict=True))


def _is_zero(e):
    """Zero as a rational function of the symbols and of the functions in it."""
    symbols = sorted(e.free_symbols, key=str)
    at = {s: float(k * k % 7 - 3.1) / 4 for k, s in enumerate(symbols)}
    if abs(sympy.lambdify(symbols, e, "math")(*at.values())) > 1e-9:
        return False
    functions = {f: sympy.Dummy() for f in e.atoms(sympy.Function)}
    e = e.xreplace(functions)
    return sympy.expand(e) == 0 or sympy.cancel(sympy.together(e)) == 0
