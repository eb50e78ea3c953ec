"""What a page keeps and explains when a reader changes it: units, names, steps, schemes."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from browsing import Opened, html_of, near, parsed
from test_page_reading import Net

import chainrule as cr
from chainrule import nn
from chainrule.explanation.prose.flow import VANISHING


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.fixture
def page(open_page: Callable[..., Opened], net: Net) -> Opened:
    return open_page(net.html)


def names(page: Opened) -> list[str]:
    return page.page.locator(".factor .under code").all_inner_texts()


def choose(page: Opened, key: str, value: str) -> None:
    """Choose as a reader does: with the focus on the menu."""
    page.page.locator(f"[data-key={key}]").focus()
    page.page.select_option(f"[data-key={key}]", value)


def test_the_unit_stays_and_its_name_follows_the_activation(page, net):
    page.stop("Backward", "relu (ReLU)")
    unit = names(page)[0]
    choose(page, "variant-activation", "sigmoid")
    assert names(page)[:2] == [unit, f"∂loss/∂{unit.replace('hidden', 'sigmoid')}"]
    assert "sigmoid" in page.text("#panel .equations")
    assert "relu" not in page.text("#panel")
    choose(page, "variant-depth", "3 hidden layers")
    assert names(page)[:2] == [unit, f"∂loss/∂{unit.replace('hidden', 'sigmoid')}"]
    choose(page, "variant-activation", "relu")
    choose(page, "variant-depth", "1 hidden layer (as it is)")
    page.page.locator("[data-key=one]").click()
    assert names(page)[0] == unit


def test_outlines_and_the_first_loss_are_those_of_the_network_as_given(page, net):
    choose(page, "variant-activation", "tanh")
    choose(page, "variant-activation", "sigmoid")
    choose(page, "scheme", "xavier_normal")
    rows = page.page.locator(".facts div", has_text="loss as given")
    assert near(parsed(rows.locator("dd").inner_text()), net.total.item())
    page.page.locator("h1").click()
    page.press("End")
    page.page.locator("#panel .chart-box summary").click()
    given = {row[0]: parsed(row[2]) for row in page.rows("length of ∂loss/∂value")}
    assert near(given["hidden"], net.gradient(net.z).norm().item())
    assert near(given["sigmoid"], net.gradient(net.h).norm().item())


def test_a_menu_stays_under_the_hand(open_page, net):
    page = open_page(net.html, viewport={"width": 700, "height": 800})
    menu = page.page.locator("[data-key=variant-depth]")
    menu.scroll_into_view_if_needed()
    before = menu.bounding_box()
    for depth in ("3 hidden layers", "2 hidden layers"):
        choose(page, "variant-depth", depth)
        assert abs(menu.bounding_box()["y"] - before["y"]) < 2
        assert menu.evaluate("e => e === document.activeElement")


def promised(page: Opened) -> list[float]:
    return [parsed(t) for t in page.page.locator(".promise dd").all_inner_texts()]


@pytest.mark.parametrize(("rate", "words"), [(1e-3, "They agree"), (20.0, "They differ")])
def test_a_step_shows_what_the_gradients_promised(page, net, rate, words):
    page.page.locator("[data-key=lr]").fill(str(rate))
    page.page.locator("[data-key=one]").click()
    square = sum(float((net.gradient(w) ** 2).sum()) for w in net.weights.values())
    other = Net()
    with torch.no_grad():
        for name, w in other.weights.items():
            w -= rate * net.gradient(net.weights[name])
    w = other.weights
    hidden = torch.tensor(np.asarray(other.x)) @ w["hidden.weight"].T + w["hidden.bias"]
    real = other.forward(torch.relu(hidden)).item() - net.total.item()
    assert near(promised(page), [-rate * square, real], digits=3)
    assert page.text(".promise + .note").startswith(words)


def test_ten_steps_of_adam_promise_the_sum_of_their_steps(page):
    page.page.select_option("[data-key=optimizer]", "Adam")
    page.page.locator("[data-key=ten]").click()
    net = Net()
    optimizer = torch.optim.Adam(
        net.weights.values(), float(page.page.input_value("[data-key=lr]"))
    )
    expected, before = 0.0, net.total.item()
    for _ in range(10):
        w = net.weights
        hidden = torch.tensor(np.asarray(net.x)) @ w["hidden.weight"].T + w["hidden.bias"]
        total = net.forward(torch.relu(hidden))
        optimizer.zero_grad()
        total.backward()
        old = [t.detach().clone() for t in w.values()]
        optimizer.step()
        pairs = zip(old, w.values(), strict=True)
        expected += sum((t.grad * (t.detach() - o)).sum().item() for o, t in pairs)
    assert near(promised(page)[0], expected, digits=3)
    assert promised(page)[1] < 0 < before


def test_the_curve_of_losses_names_each_optimizer(page):
    page.page.get_by_role("button", name="1 step", exact=True).click()
    page.page.select_option("[data-key=optimizer]", "Adam")
    page.page.get_by_role("button", name="1 step", exact=True).click()
    title = page.text(".result")
    assert re.search(r"loss after each step of SGD, learning rate \S+, then Adam, learning", title)


def test_the_rule_of_an_optimizer_has_a_key(page):
    for kind, sign, value in [
        ("SGD", "dampening", "here 0"),
        ("momentum", "momentum", "here 0.9"),
        ("RMSprop", "α", "here 0.99"),
        ("Adam", "β₁, β₂", "here 0.9, 0.999"),
    ]:
        page.page.select_option("[data-key=optimizer]", kind)
        if kind == "SGD":
            page.page.locator(".rule summary").click()
        key = dict(page.rows("Key to the rule"))
        assert value in key[sign]
        assert {"w", "g", "lr", "v"} <= {*key}
        assert ("m̂, v̂" in key) == (kind == "Adam")


@pytest.mark.parametrize("name", ["default", "kaiming_uniform", "xavier_normal", "zeros"])
def test_a_scheme_is_explained_by_its_docstring(page, name):
    choose(page, "scheme", name)
    words = page.text("#what-if-body")
    initializer = getattr(nn.init, f"{name}_", None)
    if initializer is not None:
        assert (
            initializer.__doc__.partition("(He")[0].partition("(Glorot")[0].split(".")[0] in words
        )
    bound = {"default": 1 / 3**0.5, "kaiming_uniform": (6 / 3) ** 0.5}.get(name)
    if bound is not None:
        drawn = re.search(r"hidden.weight U\(−(\S+), (\S+)\)", words)
        assert near([parsed(t) for t in drawn.groups()], [bound, bound], digits=2)
    if name == "xavier_normal":
        drawn = re.search(r"hidden.weight N\(0, (\S+)²\)", words)
        assert near(parsed(drawn[1]), (2 / 7) ** 0.5, digits=2)


def test_each_box_of_a_step_has_its_formula(page):
    page.stop("Backward", "output (Linear)")
    lines = page.text("#panel .equations").split("\n")
    assert {line.partition(" = ")[0] for line in lines} == {
        "∂L/∂W_output",
        "∂L/∂b_output",
        "δ_hrelu",
    }
    page.stop("Backward", "hidden (Linear)")
    lines = page.text("#panel .equations").split("\n")
    assert {line.partition(" = ")[0] for line in lines} == {"∂L/∂W_hidden", "∂L/∂b_hidden"}
    page.page.locator(".formulas summary").click()
    key = dict(page.rows("Key to the formulas"))
    assert key["δ_hidden"] == "∂loss/∂hidden"
    page.stop("Backward", "cross_entropy(self.model(x), y)")
    key = dict(page.rows("Key to the formulas"))
    assert key["p"].startswith("softmax(")
    assert {"softmax(v)", "onehot(c)"} <= {*key}


def test_the_factors_of_the_largest_path_are_shown(page):
    rows = page.rows("The path with the largest share")
    factors = [parsed(row[2]) for row in rows[:-1]]
    assert near(np.prod(factors), parsed(rows[-1][2]), digits=2)
    assert near(parsed(rows[-1][2]), page.number(".way .bar"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_circles_are_readable(open_page, net, scheme):
    page = open_page(net.html, color_scheme=scheme)

    def luminance(rgb: str) -> float:
        c = np.array([int(v) for v in re.findall(r"\d+", rgb)[:3]]) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for key in ("Home", "End"):
        page.press(key)
        for circle in page.page.locator(".net .unit").all():
            pair = (circle.locator("circle"), circle.locator("text").first)
            low, high = sorted(luminance(e.evaluate("e => getComputedStyle(e).fill")) for e in pair)
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_page_and_the_story_call_the_same_gradient_vanishing(net):
    assert f'"vanishing":{VANISHING}' in net.html


def test_a_loss_is_shown_without_digits_of_its_rounding(open_page):
    scores = cr.Tensor(np.array([[14.0, 0.0]], "f4"), requires_grad=True)

    def loss(y: Any) -> Any:
        return nn.functional.cross_entropy(scores, y)

    page = open_page(html_of(loss, cr.Tensor([0])))
    assert page.text("#loss") in ("about 0", "1×10⁻⁶", "9×10⁻⁷", "8×10⁻⁷", "2×10⁻⁶")


# ── what a change means ──────────────────────────────────────────────────────────────────────────


def test_both_gradients_are_shown_where_a_change_moves_it(page, net):
    before = net.gradient(net.weights["hidden.weight"]).abs().max().item()
    other = Net()
    flat = int(net.gradient(net.weights["hidden.weight"]).abs().argmax())
    with torch.no_grad():
        other.weights["hidden.weight"].view(-1)[flat] += 1
    w = other.weights
    z = torch.tensor(np.asarray(other.x)) @ w["hidden.weight"].T + w["hidden.bias"]
    other.total = other.forward(torch.relu(z))
    after = other.gradient(w["hidden.weight"]).view(-1)[flat].item()
    field = page.page.locator("[data-key=value]")
    field.fill(str(float(field.input_value()) + 1))
    page.press("Enter")
    page.page.wait_for_timeout(50)
    shown = re.search(r"was (\S+), is (\S+)", page.text("#what-if-body .facts"))
    assert near([abs(parsed(t)) for t in shown.groups()], [before, abs(after)], digits=3)


def test_a_promise_below_zero_is_refused_and_one_sample_is_no_learning(page):
    page.page.locator("[data-key=lr]").fill("20")
    page.page.locator("[data-key=one]").click()
    words = page.text(".result")
    assert "cannot fall below 0" in words
    assert "fitting, not learning" in words


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda w, x: ((w * x - 1) ** 2).mean(), True),
        (lambda w, x: abs(w * x).sum() / 3, True),
        (lambda w, x: (w * x).sum(), False),
        (lambda w, x: -((w * x) ** 2).sum(), False),
    ],
)
def test_a_loss_of_squares_is_never_negative(loss, expected):
    w = cr.Tensor([1.0, 2.0], requires_grad=True)
    found = html_of(loss, w, cr.Tensor([3.0, -4.0]))
    assert f'"never_negative":{str(expected).lower()}' in found


def test_kinks_explain_only_what_they_made(open_page):
    """From w = 3 to -3: relu(w) + (w - 2)² is bent by 3 and curved by 36, relu(w) by 3 and 0."""
    w = cr.Tensor([3.0], dtype=cr.float64, requires_grad=True)

    def curved(x: Any) -> Any:
        z = w * x
        h = nn.functional.relu(z)
        return (h + (z - 2) ** 2).sum()

    def bent(x: Any) -> Any:
        z = w * x
        h = nn.functional.relu(z)
        return (h - 0.1 * z).sum()

    for function, words in ((curved, "the loss is curved"), (bent, "h was switched off")):
        page = open_page(html_of(function, cr.Tensor([1.0], dtype=cr.float64)))
        page.page.locator("[data-key=value]").fill("-3")
        page.press("Enter")
        page.page.wait_for_timeout(50)
        assert words in page.text(".why")


def test_scheme_and_seed_stay_when_the_network_changes(page):
    assert page.page.locator("[data-key=seed]").is_disabled()
    choose(page, "scheme", "xavier_normal")
    page.page.locator("[data-key=seed]").fill("7")
    page.press("Enter")
    for key, value in (("variant-activation", "tanh"), ("variant-depth", "2 hidden layers")):
        choose(page, key, value)
        assert page.page.input_value("[data-key=scheme]") == "xavier_normal"
        assert page.page.input_value("[data-key=seed]") == "7"
        assert "not trained" in page.text("#what-if-body .strange")


def test_the_walk_hands_its_product_to_the_unit_of_the_next_stop(page):
    page.press("End")
    stops = page.page.evaluate("page.stops.filter(s => s.phase === 'backward').map(s => s.at)")
    handed = None
    for at in stops:
        page.page.evaluate(f"page.go({at})")
        value, upstream, *_ = names(page)
        assert handed is None or upstream == f"∂loss/∂{handed}"
        handed = value


def test_one_sample_for_the_picture_and_the_boxes(open_page):
    cr.random.seed(3)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x, y = cr.random.normal((4, 2)), cr.Tensor([[0.0], [1.0], [0.0], [9.0]])

    def loss(x: Any, y: Any) -> Any:
        score = model(x)
        return nn.functional.mse_loss(score, y)

    page = open_page(html_of(loss, x, y))
    stops = page.page.evaluate("page.stops.filter(s => s.phase === 'backward').map(s => s.at)")
    page.page.evaluate(f"page.go({stops[0]})")
    assert names(page)[0] == "score[0, 0]"
    page.page.select_option("#sample", "3")
    assert names(page)[0] == "score[3, 0]"


def test_escape_takes_a_choice_back(page):
    page.stop("Backward", "relu (ReLU)")
    before = names(page)
    page.page.locator(".net .unit").nth(3).click()
    page.page.locator(".net .unit").nth(2).click()
    assert "chosen" in page.text("#pointed")
    page.page.locator("h1").click()
    page.press("Escape")
    assert names(page) == before
    assert "chosen" not in page.text("#pointed")


def test_an_argument_with_a_gradient_stays_data(open_page, net):
    x = cr.Tensor(np.asarray(cr.random.normal((3, 3))), dtype=cr.float64, requires_grad=True)
    page = open_page(html_of(net.loss, x, cr.Tensor([0, 1, 2])))
    assert page.page.locator("#sample option").count() == 3
    page.page.locator("[data-key=one]").click()
    moved = page.rows("The weight that moved most, of each tensor")
    assert {row[0].partition("[")[0] for row in moved} == {*net.weights}


def test_equal_gradients_are_counted(open_page):
    w = cr.Tensor(np.zeros(9), requires_grad=True)

    def loss(x: Any) -> Any:
        return ((w * x).sum() - 1) ** 2

    page = open_page(html_of(loss, cr.Tensor(np.ones(9))))
    page.press("End")
    assert "(one of 9)" in page.text("#panel .say")
    page.page.locator("[data-key=one]").click()
    assert page.rows("The weight that moved most, of each tensor")[0][0] == "w[0] (one of 9)"


def test_words_stand_beside_the_numbers_that_they_are(open_page):
    table = nn.Embedding(3, 2)

    def loss(sentence: Any) -> Any:
        return (table(sentence) ** 2).sum()

    explained = cr.explain(loss, cr.Tensor([[2, 0, 2]]))
    page = open_page(explained.page(words=["the", "dog", "bird"]))
    assert "sentence: bird the bird" in page.text("#panel")
    with pytest.raises(cr.errors.ArgumentError, match="expected a list of texts"):
        explained.page(words="bird")
