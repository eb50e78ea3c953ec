"""What a reader chooses and changes on a page, and what it says about that."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from browsing import Opened, double, near, normal, parsed

import chainrule as cr
from chainrule import nn
from chainrule.explanation.derive import derive
from chainrule.explanation.page.assembly import page_of

F = nn.functional


class Net:
    """x → hidden → relu → output → cross-entropy on one sample: two units live, two are dead."""

    def __init__(self) -> None:
        cr.random.seed(8)
        self.model = double(
            nn.Sequential(hidden=nn.Linear(3, 4), relu=nn.ReLU(), output=nn.Linear(4, 3))
        )
        self.x, self.y = normal(1, 3), cr.Tensor([1])
        self.html = whole(self.loss, self.x, self.y)
        self.weights = {
            name: torch.tensor(np.asarray(p), requires_grad=True)
            for name, p in self.model.named_parameters()
        }
        w = self.weights
        self.z = torch.tensor(np.asarray(self.x)) @ w["hidden.weight"].T + w["hidden.bias"]
        self.h = torch.relu(self.z)
        self.total = self.forward(self.h)

    def loss(self, x: Any, y: Any) -> Any:
        return F.cross_entropy(self.model(x), y)

    def forward(self, h: Any) -> Any:
        """The loss of hidden values."""
        scores = h @ self.weights["output.weight"].T + self.weights["output.bias"]
        return torch.nn.functional.cross_entropy(scores, torch.tensor(np.asarray(self.y)))

    def gradient(self, t: Any) -> Any:
        return torch.autograd.grad(self.total, t, retain_graph=True)[0]

    @property
    def dead(self) -> int:
        """A unit that is switched off."""
        return int((self.z[0] < 0).nonzero()[0])

    @property
    def live(self) -> int:
        return int((self.z[0] > 0).nonzero()[0])


def whole(function: Callable[..., Any], *args: Any) -> str:
    """The page with its words."""
    return page_of(function, args, {}, derive(function, args, {}))


@pytest.fixture(scope="module")
def net() -> Net:
    out = Net()
    assert 0 < (out.z > 0).sum() < 4
    return out


@pytest.fixture
def page(open_page: Callable[..., Opened], net: Net) -> Opened:
    return open_page(net.html)


def pick(page: Opened, title: str, unit: int) -> None:
    """Choose a number of the row in the heat map whose title begins like this, by keys."""
    figure = page.page.locator("figure.map", has_text=re.compile(rf"^\s*{re.escape(title)}"))
    figure.first.locator(".grid").focus()
    page.press("Home")
    page.press("ArrowRight", unit)
    page.press("Enter")


# ── what is chosen ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("title", ["upstream", "local derivative", "all shares"])
def test_one_unit_on_both_sides_of_an_activation(page, net, title):
    page.stop("Backward", "relu (ReLU)")
    for unit in range(4):
        pick(page, title, unit)
        names = page.page.locator(".factor .under code").all_inner_texts()
        assert names[0] == f"hidden[0, {unit}]"
        assert names[1] == f"∂loss/∂relu[0, {unit}]"
        shown = [parsed(t) for t in page.page.locator(".factor [data-number]").all_inner_texts()]
        upstream = net.gradient(net.h)[0, unit].item()
        local = float(net.z[0, unit] > 0)
        assert near(shown, [net.z[0, unit].item(), upstream, local, upstream * local])


def test_the_step_of_an_activation_begins_with_a_unit_that_hands_gradient_on(page):
    page.stop("Backward", "relu (ReLU)")
    assert page.number(".factor.local dd") == 1


def test_a_weight_is_shown_with_the_unit_that_it_belongs_to(page, net):
    page.stop("Backward", "hidden (Linear)")
    for unit in (net.dead, net.live):
        figure = page.page.locator(".grid[aria-label^='Heat map of ∂loss/∂hidden.weight']")
        figure.focus()
        page.press("ArrowUp", 4)
        page.press("ArrowDown", unit)
        page.press("Enter")
        names = page.page.locator(".factor .under code").all_inner_texts()
        assert names[0].startswith(f"hidden.weight[{unit}, ")
        assert names[1] == f"∂loss/∂hidden[0, {unit}]"


def test_a_map_stays_where_it_is_under_the_pointer(page):
    page.stop("Backward", "output (Linear)")
    for grid in page.page.locator(".chain .grid").all():
        grid.scroll_into_view_if_needed()
        before = grid.bounding_box()
        grid.hover()
        assert grid.bounding_box() == before


def test_the_table_of_a_small_map_is_as_wide_as_its_numbers(page):
    page.stop("Backward", "output (Linear)")
    table = page.page.locator(".chain details").first
    table.locator("summary").click()
    box = table.locator(".wide")
    assert box.evaluate("e => e.scrollWidth <= e.clientWidth")


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


def test_the_story_is_told_at_its_phase_and_only_of_the_sample(page):
    page.stop("Forward", "relu (ReLU)")
    forward = page.page.locator(".story").all_inner_texts()
    page.stop("Backward", "relu (ReLU)")
    backward = page.page.locator(".story").all_inner_texts()
    assert len(forward) == 1
    assert backward
    assert not {*forward} & {*backward}
    page.page.locator("[data-key=value]").fill("0.5")
    page.press("Enter")
    page.page.wait_for_function("!document.querySelector('.story')")
    page.page.locator("[data-key=reset]").click()
    assert page.page.locator(".story").all_inner_texts() == backward


# ── what is changed ──────────────────────────────────────────────────────────────────────────────


def training_losses(page: Opened) -> list[float]:
    table = page.page.locator("#train-body details")
    if table.get_attribute("open") is None:
        table.locator("summary").click()
    return [parsed(row[1]) for row in page.rows("Loss after each step")]


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("SGD", torch.optim.SGD),
        ("momentum", lambda ws, lr: torch.optim.SGD(ws, lr, momentum=0.9)),
        ("RMSprop", torch.optim.RMSprop),
        ("Adam", torch.optim.Adam),
    ],
)
def test_the_learning_rate_suits_the_sample(page, kind, build):
    page.page.select_option("[data-key=optimizer]", kind)
    assert "w ← w - lr · " in page.text("#train-body .rule")
    rate = float(page.page.locator("[data-key=lr]").input_value())
    page.page.locator("[data-key=ten]").click()
    shown = training_losses(page)
    net = Net()
    optimizer = build(net.weights.values(), rate)
    losses = []
    for _ in range(11):
        h = torch.relu(
            torch.tensor(np.asarray(net.x)) @ net.weights["hidden.weight"].T
            + net.weights["hidden.bias"]
        )
        total = net.forward(h)
        losses.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert near(shown, losses, digits=3)
    assert shown == sorted(shown, reverse=True)
    assert shown[1] >= shown[0] / 2  # a curve, not a cliff


def test_a_rate_of_the_reader_stays_and_no_rate_is_refused(page):
    rate = page.page.locator("[data-key=lr]")
    own = rate.input_value()
    page.page.select_option("[data-key=optimizer]", "Adam")
    assert rate.input_value() != own
    rate.fill("0.03")
    page.page.select_option("[data-key=optimizer]", "SGD")
    assert rate.input_value() == "0.03"
    for text, words in (("", "needs a learning rate"), ("-1", "above 0"), ("0", "above 0")):
        rate.fill(text)
        page.page.locator("[data-key=ten]").click()
        assert words in page.text("#train-body [role=alert]")
        assert page.page.locator("#train-body svg").count() == 0
