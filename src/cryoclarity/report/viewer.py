"""The slice viewer of the page: planes of all versions of a map under one slider.

The planes of one map along one axis are one PNG, stacked; the page only slides it. So the viewer
needs no library, a keyboard moves it, and it opens from disk.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from matplotlib import colormaps
from PIL import Image

AXES = "zyx"
TITLES = {
    "input": "before",
    "enhanced": "after",
    "target": "target",
    "trust": "trust",
    "label": "local resolution, label",
    "resolution": "local resolution, predicted",
}
# Both run evenly in lightness, which a colour-blind reader and a grey print keep.
COLOURS = {"trust": "cividis", "label": "viridis_r", "resolution": "viridis_r"}
UNITS = {"trust": "", "label": " Å", "resolution": " Å"}
NOTHING = (225, 225, 225)  # where a map of values has none
SCRIPT = """
for (const viewer of document.querySelectorAll(".viewer")) {
  const slider = viewer.querySelector("input[type=range]");
  const place = viewer.querySelector("output");
  const update = () => {
    const axis = viewer.querySelector("input[type=radio]:checked").value;
    const numbers = JSON.parse(viewer.dataset.numbers)[axis];
    slider.max = numbers.length - 1;
    const plane = Math.min(slider.value, numbers.length - 1);
    place.textContent = `${axis} = ${numbers[plane]}`;
    for (const figure of viewer.querySelectorAll("figure")) {
      for (const picture of figure.querySelectorAll(".window img")) {
        picture.hidden = picture.dataset.axis != axis;
        picture.style.transform = `translateY(${-100 * plane / numbers.length}%)`;
        if (!picture.hidden) { figure.firstElementChild.style.aspectRatio = picture.dataset.ratio; }
      }
    }
  };
  viewer.addEventListener("input", update);
  update();
}
"""


@dataclass(frozen=True)
class ViewedMap:
    """One entry of the viewer.

    Attributes
    ----------
    title : str
    planes : mapping of name to three (n, height, width) uint8
        Along z, y and x.
    numbers : three sequences of int
        Plane numbers along z, y and x.
    limits : mapping of name to (low, high)
        For maps of values: what bytes 1 and 255 stand for; byte 0 is no value.
    links : mapping of text to address
        Files that belong to the entry.
    """

    title: str
    planes: Mapping[str, Sequence[np.ndarray]]
    numbers: Sequence[Sequence[int]]
    limits: Mapping[str, tuple[float, float]]
    links: Mapping[str, str] = field(default_factory=dict)


def viewer_html(shown: ViewedMap, number: int) -> str:
    """Return the element of one map.

    Parameters
    ----------
    shown : ViewedMap
    number : int
        Tells the controls of several viewers apart.
    """
    numbers = (
        "{"
        + ",".join(
            f'"{axis}":{list(map(int, line))}'
            for axis, line in zip(AXES, shown.numbers, strict=True)
        )
        + "}"
    )
    choices = " ".join(
        f'<label><input type="radio" name="axis{number}" value="{axis}"'
        f"{' checked' if axis == 'z' else ''}> {axis}</label>"
        for axis in AXES
    )
    middle = len(shown.numbers[0]) // 2
    links = " ".join(
        f'<a href="{escape(address)}">{escape(text)}</a>' for text, address in shown.links.items()
    )
    figures = "\n".join(_figure(shown, name) for name in TITLES if name in shown.planes)
    return (
        f"<section class=\"viewer\" data-numbers='{numbers}'>\n<h3>{escape(shown.title)}</h3>\n"
        f'<p class="controls">cut across {choices}'
        f' <label>plane <input type="range" min="0" max="{len(shown.numbers[0]) - 1}"'
        f' value="{middle}"></label> <output></output> {links}</p>\n'
        f'<div class="planes">\n{figures}\n</div>\n</section>'
    )


def _figure(shown: ViewedMap, name: str) -> str:
    pictures = "".join(
        f'<img data-axis="{axis}" data-ratio="{planes.shape[2]}/{planes.shape[1]}"'
        f' alt="{escape(TITLES[name])}, planes across {axis}"'
        f' src="data:image/png;base64,{_sprite(planes, COLOURS.get(name))}">'
        for axis, planes in zip(AXES, shown.planes[name], strict=True)
    )
    scale = ""
    if name in shown.limits:
        low, high = shown.limits[name]
        unit = UNITS[name]
        scale = f'<img class="scale" alt="colour scale" src="{_scale(COLOURS[name])}">'
        scale = f'<span class="scale">{low:.1f}{unit} {scale} {high:.1f}{unit}</span>'
    return (
        f'<figure><div class="window">{pictures}</div>'
        f"<figcaption>{escape(TITLES[name])} {scale}</figcaption></figure>"
    )


def _sprite(planes: np.ndarray, colours: str | None) -> str:
    """Stack planes (n, height, width) below each other, y upwards, as a base64 PNG."""
    stacked = planes[:, ::-1].reshape(-1, planes.shape[2])
    if colours is None:
        return _png(Image.fromarray(255 - stacked))  # dark density on white, as in print
    image = Image.fromarray(stacked)
    image = image.convert("P")
    image.putpalette(_palette(colours))
    return _png(image)


def _palette(colours: str) -> list[int]:
    table = (colormaps[colours](np.linspace(0, 1, 255))[:, :3] * 255).round().astype(int)
    return [*NOTHING, *table.ravel().tolist()]


def _scale(colours: str) -> str:
    image = Image.fromarray(np.tile(np.arange(1, 256, dtype=np.uint8), (8, 1))).convert("P")
    image.putpalette(_palette(colours))
    return f"data:image/png;base64,{_png(image)}"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
