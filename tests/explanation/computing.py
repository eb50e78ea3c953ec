"""The JavaScript of pages, called from Python: graphs and numbers go in, arrays come out."""

import base64
import json
from typing import Any

import numpy as np

from chainrule.explanation.page.scripts import compute_script
from chainrule.explanation.page.values import encoded
from chainrule.graph import Graph

HELPERS = """
function bytes(x) {
  if (Array.isArray(x)) return x.map(bytes);
  const raw = new Uint8Array(x.data.buffer, x.data.byteOffset, x.data.byteLength);
  let text = "";
  for (let i = 0; i < raw.length; i += 8192) {
    text += String.fromCharCode(...raw.subarray(i, i + 8192));
  }
  return { dtype: x.dtype, shape: x.shape, data: btoa(text) };
}
function attempt(f) {
  try { return f(); } catch (error) { return { error: String(error) }; }
}
"""


class Computer:
    """A page with the script, and nothing else."""

    def __init__(self, browser: Any) -> None:
        self.page = browser.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_script_tag(content=compute_script())
        self.page.add_script_tag(content=HELPERS)

    def run(self, body: str, argument: Any = None) -> Any:
        """What the body of a function of `argument` returns, arrays as `bytes` encodes them."""
        text = self.page.evaluate(
            f"(text) => JSON.stringify(((argument) => {{ {body} }})(JSON.parse(text)))",
            json.dumps(argument),
        )
        assert not self.errors, self.errors
        return arrays(json.loads(text))


def arrays(value: Any) -> Any:
    """The arrays that `bytes` has encoded, wherever they are."""
    if isinstance(value, list):
        return [arrays(v) for v in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"dtype", "shape", "data"}:
        return {k: arrays(v) for k, v in value.items()}
    dtype = value["dtype"].replace("bfloat16", "float32").replace("float16", "float32")
    out = np.frombuffer(base64.b64decode(value["data"]), dtype)
    return out.reshape(value["shape"])


def given(value: Any) -> Any:
    """An array as the page decodes it."""
    return encoded(np.asarray(value))


def graph_outputs(graph: Graph, inputs: list[Any]) -> list[Any]:
    """The graph's outputs by NumPy."""
    from chainrule.graph_evaluation import run

    with np.errstate(all="ignore"):
        return run(graph, inputs)
