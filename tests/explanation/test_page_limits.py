"""Pages of what is no number, of nothing, and of a loss that nothing computes."""

import re

import numpy as np
import pytest
from browsing import html_of, near
from playwright.sync_api import expect

import chainrule as cr


def steps(page, count):
    """As many times ten steps of an optimizer."""
    for _ in range(count):
        page.page.locator("[data-key=ten]").click()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_no_entry_of_a_field(open_page, bad):
    w = cr.Tensor([[bad, 1.0]], requires_grad=True)
    page = open_page(html_of(lambda x: (x * w).sum(), cr.Tensor([[1.0, 2.0]])))
    steps(page, 1)
    page.page.locator("[data-key=axis-1]").fill("0")
    page.press("Tab")
    assert page.page.locator("[data-key=value]").input_value() == ""


def test_losses_before_one_that_is_no_number_keep_their_digits(open_page):
    page = open_page(html_of(lambda x: (x**4).sum(), cr.Tensor([1.5, 2.0])))
    assert near(page.number("#loss"), 21.0625)
    page.page.locator("[data-key=lr]").fill("1000")
    steps(page, 1)
    expect(page.page.locator("#loss")).to_have_text(re.compile("NaN|∞"))
    page.page.locator("#train-body details summary").first.click()
    assert "21.06" in page.text("#train-body")


def test_a_loss_that_is_an_input(open_page):
    page = open_page(html_of(lambda a: a, cr.Tensor(2.0)))
    steps(page, 1)
    expect(page.page.locator("#loss")).to_have_text(re.compile("^(1[.]|0|−)"))  # it was 2


def test_tensors_without_elements_are_not_chosen(open_page):
    a, b = cr.Tensor(np.zeros((0, 2), "f4")), cr.Tensor([1.0, 2.0])
    for html in (
        html_of(lambda a, b: a.sum() + (b * b).sum(), a, b),
        html_of(lambda a: a.sum(), a),
    ):
        page = open_page(html)
        page.press("End")
        steps(page, 1)
        page.press("End")
        assert "NaN" not in page.text("body")
