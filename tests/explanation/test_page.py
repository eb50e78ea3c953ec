"""The page that a reader sees, in a browser: what it loads, what it shows, what its keys do."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from browsing import Mlp, double, html_of, near, normal, parsed

import chainrule as cr
from chainrule import nn
from chainrule.train.charts.drawing import DARK, LIGHT
from reading import AXE

F = nn.functional


# ── walking ──────────────────────────────────────────────────────────────────────────────────────


def test_the_keyboard_walks_from_the_input_to_the_loss_and_back(opened):
    captions = [opened.text("#caption")]
    while captions[-1] != "Every gradient":
        opened.press("ArrowRight")
        captions.append(opened.text("#caption"))
        status = opened.page.locator("#status").text_content()
        assert status.startswith(captions[-1])
    titles = ["0 (Linear)", "1 (Tanh)", "2 (Linear)", "return F.cross_entropy(logits, y)"]
    forward = [f"Forward, step {k} of 4: {t}" for k, t in enumerate(titles, 1)]
    backward = [f"Backward, step {k} of 4: {t}" for k, t in enumerate(reversed(titles), 1)]
    assert captions == ["Start", *forward, *backward, "Every gradient"]
    opened.press("ArrowLeft")
    assert opened.text("#caption") == backward[-1]
    opened.press("Home")
    assert opened.text("#caption") == "Start"
    opened.press("End")
    assert opened.text("#caption") == "Every gradient"
    opened.page.locator("#slider").focus()
    opened.press("ArrowLeft", 2)
    assert opened.text("#caption") == backward[-2]
    assert opened.page.locator("#slider").get_attribute("aria-valuetext") == backward[-2]


def test_space_plays_and_stops(opened):
    opened.page.clock.install()
    opened.press(" ")
    opened.page.clock.run_for(10000)
    assert opened.text("#caption").startswith("Forward, step 2")
    opened.press(" ")
    opened.page.clock.run_for(20000)
    assert opened.text("#caption").startswith("Forward, step 2")


def test_a_weight_is_chosen_by_keys_in_its_heat_map(opened, mlp):
    opened.stop("Backward", "2 (Linear)")
    grid = opened.page.locator(".grid[aria-label^='Heat map of ∂loss/∂2.weight']")
    grid.focus()
    opened.press("ArrowUp")
    opened.press("Home")
    opened.press("ArrowRight", 2)
    opened.press("ArrowDown")
    reading = opened.text("figure.map:has(:focus) .reading")
    assert reading.startswith("∂loss/∂2.weight[1, 2] = ")
    gradient = mlp.gradient(mlp.weights[2])[1, 2].item()
    assert near(parsed(reading.split(" = ")[1].split(", ")[0]), gradient)
    opened.press("Enter")
    assert "2.weight[1, 2]" in opened.text("#blame-body")
    assert near(opened.number("#blame-body [data-gradient]"), gradient)
    assert grid.evaluate("e => e === document.activeElement")  # the reader stays there
    opened.press("ArrowLeft")  # moves in the map, not in the walk
    assert opened.text("#caption").endswith("2 (Linear)")


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def test_each_stop_back_shows_the_chain_rule_of_pytorch(opened, mlp):
    values = {"layer 0": mlp.z, "layer 1": mlp.h, "logits": mlp.logits, "loss": mlp.total}
    values |= dict(zip(["0.weight", "0.bias", "2.weight", "2.bias"], mlp.weights, strict=True))

    def element(text: str) -> tuple[Any, tuple[int, ...]]:
        name, _, index = text.partition("[")
        return values[name], tuple(map(int, re.findall(r"\d+", index)))

    for title in ("return F.cross_entropy(logits, y)", "2 (Linear)", "1 (Tanh)", "0 (Linear)"):
        opened.stop("Backward", title)
        names = [opened.page.locator(".factor code").nth(k).inner_text() for k in (0, 1)]
        (given, at), (out, where) = element(names[0]), element(names[1].removeprefix("∂loss/∂"))
        local = torch.autograd.grad(out[where], given, retain_graph=True)[0][at].item()
        upstream = mlp.gradient(out)[where].item()
        expected = [given[at].item(), upstream, local, upstream * local]
        cells = opened.page.locator(".factor [data-number]")
        assert near([parsed(t) for t in cells.all_inner_texts()], expected)
        exact = [float(cells.nth(k).get_attribute("data-number")) for k in range(4)]
        np.testing.assert_allclose(exact, expected, rtol=1e-12)
        if "Linear" in title:
            assert near(opened.number("[data-sum]"), mlp.gradient(given)[at].item())


def test_heat_maps_and_their_tables_show_the_gradients(opened, mlp):
    opened.stop("Backward", "2 (Linear)")
    assert near(opened.map("all shares: ∂loss/∂2.weight"), mlp.gradient(mlp.weights[2]))
    opened.stop("Backward", "1 (Tanh)")
    local = opened.map("local derivative, number by number")
    assert near(local, 1 - mlp.h[:1].detach() ** 2)
    opened.stop("Forward", "0 (Linear)")
    assert near(opened.map("layer 0"), mlp.z[:1].detach())
    opened.page.select_option("#sample", "2")
    assert near(opened.map("layer 0"), mlp.z[2:].detach())


def test_the_words_of_a_linear_step_are_its_sum(opened, mlp):
    opened.stop("Forward", "2 (Linear)")
    text = opened.text("#panel .sum").replace("−", "-")
    products, _, result = text.partition(" = ")
    pairs = re.findall(r"\(?(-?[\d.]+)\)?·\(?(-?[\d.]+)\)?", products)
    bias = float(re.search(r"\(?(-?[\d.]+)\)? \(bias\)", products)[1])
    total = sum(float(a) * float(b) for a, b in pairs) + bias
    assert len(pairs) == 3
    assert abs(total - float(result)) < 1e-3


def test_a_neuron_is_a_weighted_sum_and_a_penalty_is_none(open_page):
    w, b = (cr.Tensor(v, requires_grad=True) for v in ([0.5, -0.25], 0.25))

    def loss(x: Any) -> Any:
        s = (w * x).sum() + b
        penalty = s + (w * w).sum()
        return penalty * penalty

    page = open_page(html_of(loss, cr.Tensor([1.0, 2.0])))
    page.press("ArrowRight")
    assert page.text("#panel .sum") == "0.5·1 + (−0.25)·2 + 0.25 (bias) = 0.25"
    page.press("ArrowRight")
    assert page.page.locator("#panel .sum").count() == 0


def test_the_end_ranks_parameters_by_their_gradients(opened, mlp):
    opened.press("End")
    rows = opened.rows("Gradients of the parameters")
    sizes = {r[0]: parsed(r[2]) for r in rows}
    expected = {
        n: float(mlp.gradient(w).norm())
        for n, w in zip(("0.weight", "0.bias", "2.weight", "2.bias"), mlp.weights, strict=True)
    }
    assert [*sizes] == sorted(expected, key=expected.get, reverse=True)
    assert all(near(sizes[n], expected[n]) for n in sizes)


def test_paths_add_up_to_the_gradient_and_are_drawn(opened, mlp):
    for name, weight in zip(("0.weight", "2.bias"), (mlp.weights[0], mlp.weights[3]), strict=True):
        opened.page.select_option("[data-key=tensor]", label=name)
        shares = float(opened.page.locator("[data-shares]").get_attribute("data-shares"))
        index = [int(i.input_value()) for i in opened.page.locator("[data-axis]").all()]
        np.testing.assert_allclose(shares, mlp.gradient(weight)[tuple(index)].item(), rtol=1e-9)
    opened.page.select_option("[data-key=tensor]", label="0.weight")
    assert opened.page.locator(".net .trace path").count() > 1
    opened.page.locator("[data-path='0']").focus()
    opened.press("Enter")
    assert opened.page.locator(".net .blame").count() == 1
    assert opened.page.locator("[data-path='0']").get_attribute("aria-pressed") == "true"
    *hops, total = opened.rows("The chosen path")
    assert near(np.prod([parsed(r[2]) for r in hops]), parsed(total[2]), digits=3)


# ── what if, and steps ───────────────────────────────────────────────────────────────────────────


def test_what_if_recomputes_loss_and_gradients(opened, mlp):
    before = mlp.total.item()
    opened.page.select_option("[data-key=tensor]", label="0.bias")
    opened.page.locator("[data-axis='0']").fill("2")
    opened.press("Enter")
    opened.page.locator("[data-key=value]").fill("0.75")
    opened.press("Enter")
    with torch.no_grad():
        weights = [w.clone() for w in mlp.weights]
        weights[1][2] = 0.75
    changed = Mlp()
    changed.weights = [w.requires_grad_(True) for w in weights]
    changed.loss()
    shown = float(opened.page.locator("[data-loss]").get_attribute("data-loss"))
    np.testing.assert_allclose(shown, changed.total.item(), rtol=1e-9)
    assert opened.page.locator("#status").text_content().startswith("The loss is ")
    assert near(
        opened.number("#blame-body [data-gradient]"), changed.gradient(changed.weights[1])[2].item()
    )
    opened.page.locator("[data-key=reset]").click()
    shown = float(opened.page.locator("[data-loss]").get_attribute("data-loss"))
    np.testing.assert_allclose(shown, before, rtol=1e-12)


def test_another_activation_and_depth(opened):
    opened.page.select_option("[data-key=variant-activation]", "relu")
    opened.stop("Forward", "1 (ReLU)")
    opened.page.select_option("[data-key=variant-depth]", "2 hidden layers")
    assert opened.page.locator(".net .kind", has_text="ReLU").count() == 2
    opened.page.select_option("[data-key=scheme]", "zeros")
    shown = float(opened.page.locator("[data-loss]").get_attribute("data-loss"))
    np.testing.assert_allclose(shown, np.log(2), rtol=1e-12)  # both classes are as likely


@pytest.mark.parametrize(
    ("kind", "rate", "build"),
    [
        ("SGD", 0.1, lambda ws, lr: torch.optim.SGD(ws, lr)),
        ("Adam", 0.02, lambda ws, lr: torch.optim.Adam(ws, lr)),
    ],
)
def test_steps_of_an_optimizer(opened, kind, rate, build):
    opened.page.select_option("[data-key=optimizer]", kind)
    opened.page.locator("[data-key=lr]").fill(str(rate))
    opened.page.locator("[data-key=ten]").click()
    opened.page.locator("[data-key=one]").click()
    net = Mlp()
    optimizer = build(net.weights, rate)
    losses = [net.total.item()]
    for _ in range(11):
        optimizer.zero_grad()
        net.total.backward()
        optimizer.step()
        net.loss()
        losses.append(net.total.item())
    opened.page.locator(".result summary").click()
    shown = [parsed(row[1]) for row in opened.rows("Loss after each step")]
    assert near(shown, losses)


# ── closer looks ─────────────────────────────────────────────────────────────────────────────────


def test_cross_entropy_shows_probability_minus_target(opened, mlp):
    opened.stop("Backward", "return F.cross_entropy(logits, y)")
    rows = opened.rows("Probabilities of the classes")
    share = torch.softmax(mlp.logits[0], 0).tolist()
    assert near([parsed(r[1].rstrip("%")) / 100 for r in rows], share, digits=2)
    assert near([parsed(r[4]) for r in rows], mlp.gradient(mlp.logits)[0])


def test_what_a_kernel_weight_collects(open_page):
    cr.random.seed(1)
    conv = double(nn.Conv2d(1, 2, 3, padding=1))
    image = normal(1, 5, 5, 1)
    page = open_page(html_of(lambda image: (conv(image) ** 2).mean(), image))
    page.stop("Forward", "Conv2d")
    assert "3 × 3 kernel" in page.text(".look")
    page.page.locator(".look .grid[aria-label^='Heat map of output']").focus()
    page.press("Home")
    page.press("ArrowUp", 5)
    page.press("ArrowDown", 2)
    page.press("ArrowRight")
    assert "At row 2, column 1" in page.text(".look")
    x = np.pad(np.asarray(image)[0, :, :, 0], 1)
    kernel = np.asarray(conv.weight)[:, :, 0, 0]
    assert near(page.number(".look strong"), (x[2:5, 1:4] * kernel).sum())
    page.stop("Backward", "Conv2d")
    name = page.text(".look code")
    weight = torch.tensor(np.asarray(conv.weight).transpose(3, 2, 0, 1), requires_grad=True)
    x = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2)
    bias = torch.tensor(np.asarray(conv.bias))
    (torch.nn.functional.conv2d(x, weight, bias, padding=1) ** 2).mean().backward()
    a, b, c, d = map(int, re.findall(r"\d+", name.split("[")[1]))
    assert near(page.number(".look strong"), weight.grad[d, c, a, b].item())


def test_gradients_through_time(open_page):
    cr.random.seed(2)
    rnn = double(nn.RNN(2, 4))
    x = normal(1, 6, 2)
    page = open_page(html_of(lambda x: (rnn(x)[0][:, -1] ** 2).sum(), x))
    page.stop("Backward", "RNN")
    assert "Going back from time step 5 to 0" in page.text(".look")
    page.page.locator(".chart-box summary", has_text="Table").first.click()
    shown = [parsed(r[1]) for r in page.rows("length of the gradient, by time step")]
    w, u, b, c = (
        torch.tensor(np.asarray(getattr(rnn, name)))
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    hidden, sums = torch.zeros(4, dtype=torch.float64), []
    for row in torch.tensor(np.asarray(x))[0]:
        sums.append((w @ row + u @ hidden + b + c).requires_grad_(True))
        sums[-1].retain_grad()
        hidden = torch.tanh(sums[-1])
    (hidden**2).sum().backward()
    assert near(shown, [float(t.grad.norm()) for t in sums])


def test_gradients_through_a_loop_in_python(open_page):
    cr.random.seed(6)
    w, x = normal(3, 3), normal(5, 3)
    w.requires_grad = True

    def loss(x: Any) -> Any:
        h = cr.zeros((3,), dtype="float64")
        for t in range(5):
            h = cr.tanh(w @ h + x[t])
        return (h * h).sum()

    page = open_page(html_of(loss, x))
    page.press("End")
    page.press("ArrowLeft")
    assert "Going back from time step 4 to 0" in page.text(".look")
    page.page.locator(".chart-box summary", has_text="Table").first.click()
    shown = [parsed(r[1]) for r in page.rows("length of the gradient, by time step")]
    hidden = [torch.zeros(3, dtype=torch.float64)]
    for row in torch.tensor(np.asarray(x)):
        h = torch.tanh(torch.tensor(np.asarray(w)) @ hidden[-1] + row)
        hidden.append(h.requires_grad_(True))
        hidden[-1].retain_grad()
    (hidden[-1] ** 2).sum().backward()
    assert near(shown, [float(h.grad.norm()) for h in hidden[1:]])


def test_three_ways_through_batch_norm_add_up(open_page):
    cr.random.seed(4)
    norm = double(nn.BatchNorm1d(3))
    scale = cr.Tensor(np.array([0.5, -1.0, 2.0]))
    x = normal(4, 3)
    x.requires_grad = True
    page = open_page(html_of(lambda x: (cr.tanh(norm(x)) * scale).sum(), x))
    page.stop("Backward", "BatchNorm1d")
    t = torch.tensor(np.asarray(x), requires_grad=True)
    y = torch.nn.functional.batch_norm(t, None, None, training=True)
    (torch.tanh(y) * torch.tensor(np.asarray(scale))).sum().backward()
    ways = [page.map(title) for title in ("directly", "through the mean", "through the variance")]
    assert near(sum(ways), t.grad, digits=3)
    assert near(page.map("gradient"), t.grad)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_of_each_head(open_page, fused):
    cr.random.seed(5)
    attention = double(nn.MultiheadAttention(4, 2))
    x = normal(1, 3, 4)

    def loss(x: Any) -> Any:
        return (attention(x, x, x, need_weights=not fused)[0] ** 2).sum()

    page = open_page(html_of(loss, x))
    page.stop("Backward", "MultiheadAttention")
    x_ = torch.tensor(np.asarray(x))[0]
    q, k, _ = (x_ @ torch.tensor(np.asarray(attention.in_proj_weight)).T).split(4, 1)
    for head in (0, 1):
        page.page.select_option("[data-key^=head-]", str(head))
        own = slice(2 * head, 2 * head + 2)
        weights = torch.softmax(q[:, own] @ k[:, own].T / 2**0.5, 1)
        assert near(page.map("attention weights"), weights)
    assert np.allclose(page.map("gradient of the attention scores").sum(1), 0, atol=1e-4)


# ── the page itself ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folded() -> str:
    """A network of many steps, folded by module."""
    cr.random.seed(0)
    layers = nn.Sequential(*[nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0) for _ in range(2)])
    head = nn.Linear(8, 2)

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(head(layers(x)[:, 0]), y)

    return html_of(loss, cr.random.normal((2, 4, 8)), cr.Tensor([0, 1]))


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_serious_for_accessibility_and_no_sideways_scrolling(open_page, folded, width):
    page = open_page(folded, viewport={"width": width, "height": 800}).page
    for at in range(0, int(page.locator("#slider").get_attribute("max")), 5):
        page.locator("#slider").fill(str(at))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_steps_are_folded_by_module_and_open_when_one_walks_in(open_page, folded):
    page = open_page(folded)
    folds = page.page.locator(".net .fold")
    assert [t.split(" · ")[0] for t in folds.all_text_contents()] == ["layers.0", "layers.1"]
    folds.first.click()
    assert page.text("#caption").startswith("Forward, step 1")
    assert page.page.locator(".net .fold").count() == 1


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_the_colours_are_those_of_reports(open_page, mlp, scheme, colours):
    page = open_page(mlp.html, color_scheme=scheme).page
    for name, colour in re.findall(r"(--(?!full)\w+):(#\w+)", colours):
        style = "getComputedStyle(document.documentElement)"
        assert page.evaluate(f"{style}.getPropertyValue('{name}')") == colour


def test_the_switch_changes_the_colours(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = opened.page.evaluate(colour)
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(colour) != light
    assert opened.page.locator("#theme").get_attribute("aria-pressed") == "true"


def test_what_is_too_large_for_a_page_is_left_out(open_page):
    model = nn.Sequential(nn.Linear(400, 800), nn.Tanh(), nn.Linear(800, 2))
    x, y = cr.random.normal((2, 400)), cr.Tensor([0, 1])
    expected = float(F.cross_entropy(model(x), y))
    html = html_of(lambda x, y: F.cross_entropy(model(x), y), x, y)
    assert len(html) < 2_500_000
    page = open_page(html)
    assert near(page.number("#loss"), expected)
    page.stop("Forward", "0 (Linear)")
    assert "too large for a page" in page.text(".map.note")
    assert "too many numbers" in page.text("#train-body")
    for _ in range(8):
        page.press("ArrowRight")


def test_titles_and_names_are_text(open_page):
    title = "</script><b id=x>&amp;</b>"
    w = cr.Tensor([1.0, 2.0], requires_grad=True)
    page = open_page(html_of(lambda x: (w * x).sum(), cr.Tensor([3.0, 4.0]), title=title))
    assert page.text("h1") == title
    assert page.page.title() == title
    assert page.page.locator("#x").count() == 0
    assert page.number("#loss") == 11
