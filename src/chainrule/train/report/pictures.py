"""Images of an image run: what the network is trained on, its first filters, where it looks."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..charts.drawing import escape
from .contents import Report
from .html import class_name

NAME = 32  # characters of the name of an image
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


def image(uri: str) -> str:
    """The element of a data URI; empty if it is none."""
    return f'<img src="{escape(uri)}" alt="">' if _IMAGE.fullmatch(uri) else ""


def captioned(caption: str) -> str:
    """The name of an image, shortened, and below it what is said about it."""
    name, _, said = caption.partition("\n")
    return class_name(name, NAME) + (f"<br>{class_name(said)}" if said else "")


def pictures(pairs: Iterable[tuple[str, str]]) -> str:
    """Images with captions, of (data URI, caption) pairs."""
    figures = [
        f"<figure>{element}<figcaption>{captioned(caption)}</figcaption></figure>"
        for uri, caption in pairs
        if (element := image(uri))
    ]
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def training_section(report: Report) -> str:
    strips = [
        f"<dt>{class_name(name)}</dt><dd>{''.join(map(image, uris))}</dd>"
        for name, uris in report.training_pictures
    ]
    if not strips:
        return ""
    said = "Some training images of each class, as the network gets them"
    if report.augmented:
        said += f": changed at random, differently in each epoch ({escape(report.augmented)})"
    return f'<p>{said}.</p><dl class="strips">{"".join(strips)}</dl>'


def filters_section(report: Report) -> str:
    tiles = "".join(map(image, report.filters))
    if not tiles:
        return ""
    return (
        "<p>The filters of the first convolution, each the pattern that makes its feature large. "
        "Mid-grey is a weight of 0; bright weights raise the feature where the image is bright, "
        "dark ones where it is dark; in coloured filters, for red, green and blue each. Each is "
        "scaled to its largest weight.</p>"
        f'<div class="tiles">{tiles}</div>'
    )


def maps_section(report: Report) -> str:
    figures = [
        f'<figure><div class="triple">{"".join(map(image, uris))}</div>'
        f"<figcaption>{captioned(caption)}</figcaption></figure>"
        for caption, *uris in report.maps
    ]
    if not figures:
        return ""
    said = {
        "Left": "a test image.",
        "Middle": "its saliency map: the brighter a pixel, the more a change there would change "
        "the score of the predicted class (|∂score/∂pixel|, the largest over the channels).",
        "Right": "Grad-CAM over the image in grey: bright regions speak for the predicted class, "
        "dark ones do not.",
    }
    lines = "".join(f"<li><b>{place}</b>: {text}</li>" for place, text in said.items())
    return (
        f"<ul>{lines}</ul><p>Each map is scaled to its largest value.</p>"
        f'<div class="maps">{"".join(figures)}</div>'
    )
