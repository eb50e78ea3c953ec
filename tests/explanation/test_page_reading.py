"""What a reader chooses and changes on a page, and what it says about that."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from browsing import Opened, double, html_of, near, normal, parsed
from playwright.sync_api import expect

import chainrule as cr
from chainrule import nn

F = nn.functional


class Net:
    """x → hidden → relu → output → cross-entropy on one sample: two units live, two are dead."""

    def __init__(self) -> None:
        cr.random.seed(8)
        self.model = double(
            nn.Sequential(hidden=nn.Linear(3, 4), relu=nn.ReLU(), output=nn.Linear(4, 3))
        )
        self.x, self.y = normal(1, 3), cr.Tensor([1])
        self.html = html_of(self.loss, self.x, self.y)
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


def test_a_click_in_the_picture_chooses_and_stays(page, net):
    page.stop("Backward", "relu (ReLU)")
    caption = page.text("#caption")
    units = page.page.locator(".net .unit")
    for unit in range(4):
        circle = units.filter(has=page.page.locator(f"title:text('hidden[0, {unit}] =')")).first
        circle.hover()
        shown = page.text("#pointed")
        assert shown.startswith(f"hidden[0, {unit}] = ")
        assert near(parsed(shown.split(" = ")[1].split(", ")[0]), net.z[0, unit].item())
        circle.click()
        assert page.text("#caption") == caption
        names = page.page.locator(".factor .under code").all_inner_texts()
        assert names[:2] == [f"hidden[0, {unit}]", f"∂loss/∂relu[0, {unit}]"]


def test_a_tile_in_the_picture_is_named_and_chosen(open_page):
    cr.random.seed(0)
    layer = nn.Linear(4, 32)
    x = cr.random.normal((2, 4))
    page = open_page(html_of(lambda x: (cr.tanh(layer(x)) ** 2).mean(), x))
    page.page.select_option("#sample", "1")
    page.press("End")
    image = page.page.locator(".net .grid-block image").first
    box = image.bounding_box()
    at = {"x": box["width"] * 2.5 / 8, "y": box["height"] * 1.5 / 4}
    image.hover(position=at)
    value = np.asarray(layer(x))[1, 10]
    shown = page.text("#pointed")
    assert re.search(r"\[1, 10\] = ", shown)
    assert near(parsed(shown.split(" = ")[1].split(", ")[0]), value)
    image.click(position=at)
    assert page.text("#caption") == "Every gradient"
    assert page.page.locator(".net .frame").count() == 1


def test_a_batch_says_that_it_is_one(open_page, mlp):
    page = open_page(mlp.html)
    assert page.text("#samples") == "3 samples, forward and backward; the loss is their mean"
    assert "mean over 3 samples" in page.text("#panel .say")
    assert page.page.locator(".net .sheet").count() > 0
    assert page.text("#pointed") == "sample 0, of samples 0 to 2"
    x = cr.Tensor(np.ones((3, 2)), requires_grad=True)
    page = open_page(html_of(lambda: (x * x).sum()))
    assert "mean" not in page.text("#samples")


def test_a_wide_picture_shows_the_step_and_that_there_is_more(open_page):
    layers = [layer for _ in range(5) for layer in (nn.Linear(20, 20), nn.Tanh())]
    model = nn.Sequential(*layers)
    html = html_of(lambda x: (model(x) ** 2).mean(), cr.random.normal((1, 20)))
    page = open_page(html, viewport={"width": 900, "height": 800})
    scene = page.page.locator("#scene")
    assert "more-after" in scene.get_attribute("class")
    page.press("ArrowRight", 6)
    box, here = (e.bounding_box() for e in (scene, page.page.locator(".net .here")))
    assert box["x"] <= here["x"]
    assert here["x"] + here["width"] <= box["x"] + box["width"]
    assert {"more-before", "more-after"} < {*scene.get_attribute("class").split()}


def test_classes_have_their_numbers_and_circles_room_for_theirs(page, net):
    assert page.page.locator(".net .index").all_text_contents() == ["0", "1", "2"]
    page.press("End")
    for circle in page.page.locator(".net .unit").all():
        text = circle.locator("text").first.bounding_box()["width"]
        assert text <= circle.locator("circle").bounding_box()["width"]


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


def test_the_story_is_told_at_its_phase_and_marked_where_its_numbers_are_old(page):
    page.stop("Forward", "relu (ReLU)")
    forward = page.page.locator(".story").all_inner_texts()
    page.stop("Backward", "relu (ReLU)")
    backward = page.page.locator(".story").all_inner_texts()
    assert len(forward) == 1
    assert backward
    assert not {*forward} & {*backward}
    page.page.locator("[data-key=value]").fill("0.5")
    page.press("Enter")
    past = page.page.locator(".story .past")
    expect(past.first).to_be_visible()
    assert page.page.locator(".story").all_inner_texts() == backward
    assert all(re.search(r"\d", text) for text in past.all_inner_texts())
    assert not past.filter(has_text="Back through").count()
    page.page.locator("[data-key=reset]").click()
    expect(past).to_have_count(0)


# ── what is changed ──────────────────────────────────────────────────────────────────────────────


def training_losses(page: Opened) -> list[float]:
    table = page.page.locator(".result details")
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


def test_the_curve_of_losses_begins_at_a_change_by_hand(page, net):
    edit(page, "output.bias", (0,), 2.0)
    page.page.locator("[data-key=ten]").click()
    shown = training_losses(page)
    bias = net.weights["output.bias"].detach().clone()
    bias[0] = 2.0
    scores = net.h @ net.weights["output.weight"].T + bias
    total = torch.nn.functional.cross_entropy(scores, torch.tensor(np.asarray(net.y)))
    assert len(shown) == 11
    assert near(shown[0], total.item())


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


def facts(page: Opened) -> dict[str, str]:
    """What the page says about changes, after the next frame."""
    page.page.wait_for_timeout(50)
    rows = page.page.locator(".facts div").all()
    return {r.locator("dt").inner_text(): r.locator("dd").inner_text() for r in rows}


def edit(page: Opened, name: str, index: tuple[int, ...], value: float) -> None:
    choose(page, name, index)
    page.page.locator("[data-key=value]").fill(str(value))
    page.press("Enter")


def test_two_changes_are_compared_together(page, net):
    w = net.weights["output.weight"]
    edit(page, "output.weight", (0, net.live), w[0, net.live].item() + 0.5)
    edit(page, "output.weight", (1, net.live), w[1, net.live].item() - 0.25)
    slope = net.gradient(w)
    predicted = 0.5 * slope[0, net.live].item() - 0.25 * slope[1, net.live].item()
    changed = w.detach().clone()
    changed[0, net.live] += 0.5
    changed[1, net.live] -= 0.25
    scores = net.h.detach() @ changed.T + net.weights["output.bias"].detach()
    total = torch.nn.functional.cross_entropy(scores, torch.tensor(np.asarray(net.y)))
    shown = facts(page)
    real = total.item() - net.total.item()
    assert near(parsed(shown["change of the loss by all 2 changes"]), real, digits=3)
    assert near(parsed(shown["change that the gradient predicts for all"]), predicted, digits=3)
    assert "curved" in page.text(".why")


def test_a_kink_that_a_change_passes_is_named(page, net):
    bias = net.weights["hidden.bias"][net.live].item()
    edit(page, "hidden.bias", (net.live,), bias - net.z[0, net.live].item() - 1)
    assert "loss was" in facts(page)
    assert f"relu[0, {net.live}] was switched off" in page.text(".why")
    edit(page, "hidden.bias", (net.live,), bias - 1e-4)
    facts(page)
    assert page.text(".why").startswith("They agree")


def test_another_activation_keeps_the_stop_and_all_comes_back(page, net):
    before = page.text("#loss")
    page.stop("Backward", "relu (ReLU)")
    page.page.select_option("[data-key=variant-activation]", "sigmoid")
    assert page.text("#caption") == "Backward, step 3 of 4: sigmoid (Sigmoid)"
    h = torch.sigmoid(net.z)
    assert near(page.number("#loss"), net.forward(h).item())
    assert facts(page)["loss as given"] == f"{net.total.item():.4g}"
    page.page.select_option("[data-key=variant-depth]", "3 hidden layers")
    assert page.text("#caption").startswith("Backward")
    assert "seed 0" in page.text("#what-if-body")
    page.press("End")
    assert page.page.locator(".was").count() > 1
    page.page.select_option("[data-key=scheme]", index=1)
    page.page.select_option("[data-key=optimizer]", "Adam")
    page.page.locator("[data-key=ten]").click()
    page.page.locator("[data-key=reset]").click()
    assert page.text("#loss") == before
    for key, value in (
        ("variant-activation", "relu (as it is)"),
        ("variant-depth", "1 hidden layer (as it is)"),
        ("scheme", "as they are"),
        ("optimizer", "SGD"),
    ):
        chosen = page.page.locator(f"[data-key={key}] option:checked")
        assert chosen.inner_text() == value
    assert page.text("#caption") == "Every gradient"
    assert page.page.locator(".was, #train-body svg").count() == 0


def test_parameters_as_they_are_keep_the_network(page):
    depth = page.page.locator("[data-key=variant-depth]")
    depth.select_option("3 hidden layers")
    loss = page.page.evaluate("page.network.loss")
    page.page.select_option("[data-key=scheme]", "zeros")
    assert page.page.evaluate("page.network.loss") != loss
    page.page.select_option("[data-key=scheme]", "as they are")
    assert depth.evaluate("e => e.selectedOptions[0].text") == "3 hidden layers"
    assert page.page.evaluate("page.network.loss") == loss


def test_a_gradient_that_nearly_vanishes_says_where(open_page):
    cr.random.seed(1)
    layers = [double(nn.Linear(4, 4)) for _ in range(4)]
    x = normal(1, 4)

    def loss(x: Any) -> Any:
        a = cr.sigmoid(layers[0](x))
        b = cr.sigmoid(layers[1](a))
        c = cr.sigmoid(layers[2](b))
        return (layers[3](c) ** 2).sum()

    page = open_page(html_of(loss, x))
    page.press("End")
    assert "one below it" in page.text("#panel .chart-box figcaption")
    value = torch.tensor(np.asarray(x))
    passed = []
    for k, layer in enumerate(layers):
        given = value.detach() if k == 0 else value
        value = given @ torch.tensor(np.asarray(layer.weight)).T + torch.tensor(
            np.asarray(layer.bias)
        )
        value.requires_grad_()
        passed.append([value, torch.sigmoid(value)])
        value = passed[-1][1]
    total = (passed[-1][0] ** 2).sum()
    before, after = [], []
    for z, h in passed[:3]:
        out, back = (
            float(torch.autograd.grad(total, t, retain_graph=True)[0].norm()) for t in (h, z)
        )
        before.append(out)
        after.append(back)
    k = int(np.argmin(np.array(after) / before))
    slopes = passed[k][1].detach() * (1 - passed[k][1].detach())
    words = page.text(".flow")
    assert "nearly vanishes" in words
    shown = re.search(r"× (\S+); its slopes are (\S+) to (\S+)\.$", words)
    expected = [after[k] / before[k], slopes.min(), slopes.max()]
    assert near([parsed(t) for t in shown.groups()], expected, digits=2)


# ── paths, and words about numbers ───────────────────────────────────────────────────────────────


def choose(page: Opened, name: str, index: tuple[int, ...]) -> None:
    page.page.select_option("[data-key=tensor]", label=name)
    for axis, k in enumerate(index):
        page.page.locator(f"[data-axis='{axis}']").fill(str(k))
        page.press("Enter")


def test_a_gradient_of_0_says_where_its_paths_stop(page, net):
    choose(page, "hidden.weight", (net.dead, 1))
    assert page.number("#blame-body [data-gradient]") == 0
    words = page.text("#blame-body .stopped")
    assert words.startswith(f"No path reaches it: stopped at relu[0, {net.dead}], where")
    shown = re.search(rf"because hidden\[0, {net.dead}\] = (\S+)\.$", words)
    assert near(parsed(shown[1]), net.z[0, net.dead].item())
    edit(page, "x", (0, 1), 0.0)
    choose(page, "hidden.weight", (net.live, 1))
    words = page.text("#blame-body .stopped")
    assert words.endswith(
        f"hidden[0, {net.live}], where the local derivative is 0 because x[0, 1] = 0."
    )


def test_the_number_of_paths_and_that_they_cancel(open_page):
    w = cr.Tensor([1.0], requires_grad=True)
    out = cr.Tensor(np.array([1.0, -1.0, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, -1.9]))

    def loss(x: Any) -> Any:
        h = w * x
        return (h * out).sum()

    page = open_page(html_of(loss, cr.Tensor(np.ones(11))))
    assert "of 11 paths in all" in page.text("#blame-body")
    assert "cancel" in page.text("#blame-body .cancel")
    assert near(page.number("#blame-body [data-gradient]"), float(np.asarray(out).sum()))


def test_a_rate_is_said_for_a_small_change(page, net):
    page.stop("Backward", "output (Linear)")
    name = page.page.locator(".factor .under code").nth(1).inner_text().removeprefix("∂loss/∂")
    k = int(re.findall(r"\d+", name)[1])
    scores = net.h @ net.weights["output.weight"].T + net.weights["output.bias"]
    slope = torch.softmax(scores, 1)[0, k].item() - float(k == 1)
    words = page.text("#panel .say")
    small = re.search(
        r"at a rate of (\S+), so 0.01 more of it changes the loss by about (\S+)\.", words
    )
    assert near([parsed(t) for t in small.groups()], [slope, slope / 100])


def test_an_index_beyond_the_end_is_said(page):
    choose(page, "output.bias", (7,))
    assert page.page.locator("[data-axis='0']").input_value() == "2"
    assert page.text(".clamped") == "There is no index 7: along axis 0 they go from 0 to 2."


def test_a_loss_below_its_rounding_is_about_0(open_page):
    scores = cr.Tensor(np.array([[20.0, 0.0]], "f4"), requires_grad=True)
    page = open_page(html_of(lambda y: F.cross_entropy(scores, y), cr.Tensor([0])))
    assert page.text("#loss") == "about 0"
    scores = cr.Tensor(np.array([[9.0, 0.0]], "f4"), requires_grad=True)
    page = open_page(html_of(lambda y: F.cross_entropy(scores, y), cr.Tensor([0])))
    assert near(page.number("#loss"), np.log1p(np.exp(-9.0)), digits=3)


def test_the_key_to_the_formulas(page):
    page.stop("Backward", "hidden (Linear)")
    page.page.locator(".formulas summary").click()
    rows = page.rows("Key to the formulas")
    assert ["W_hidden", "hidden.weight"] in rows
    assert any(sign == "δ_v" and "∂L/∂v" in means for sign, means in rows)
    assert "output.weight" not in [name for _, name in rows]
