"""The report of a run: one HTML page that needs no network and no script.

contents      what it says: `Report`
page          the frame, and the order of the sections: `render`, `with_trials`; `page_of` trials
verdict       the head of the page
curves        losses, metrics and gradient norms over the training
confusion     the confusion matrix, and each class
predictions   residuals, texts, mistakes
pictures      images: trained on, filters, where the network looks
details       findings, data, model, recipe, versions
html, style   pieces of HTML; how the page looks
"""

from .contents import Report
from .page import page_of, render, with_trials

__all__ = ["Report", "page_of", "render", "with_trials"]
