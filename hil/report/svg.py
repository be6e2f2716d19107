"""Inline SVG, element by element, everything escaped.

Pictures carry no view box: positions across are percentages, so a picture fills its column on a phone and on a
wide screen while its text keeps its size. Curves live in a nested picture that is stretched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

Attributes = Mapping[str, object]


def element(name: str, attributes: Attributes, *children: str) -> Markup:
    """Give one element; children that are not Markup are escaped.

    Examples
    --------
    >>> element("title", {}, "1 < 2")
    Markup('<title>1 &lt; 2</title>')
    """
    pairs = "".join(f' {key}="{escape(_value(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{pairs}>{''.join(escape(child) for child in children)}</{name}>")  # noqa: S704 - escaped above


def percent(share: float) -> str:
    """Give a share as a coordinate: 0.25 is ``25%``."""
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def picture(title: str, height: int, children: Iterable[str], *, kind: str = "") -> Markup:
    """Give a picture as wide as its column; the title is what a screen reader says."""
    attributes = {
        "class": f"chart {kind}".strip(),
        "role": "img",
        "width": "100%",
        "height": height,
        "aria-label": title,
    }
    return element("svg", attributes, element("title", {}, title), *children)


def text(words: str, x: str, y: float, *, kind: str = "", anchor: str = "start") -> Markup:
    """Give words at a place; ``anchor`` is start, middle or end."""
    return element("text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, words)


def bar(x: float, width: float, y_and_height: tuple[float, float], kind: str, title: str = "") -> Markup:
    """Give a rectangle; ``x`` and ``width`` are shares of the picture's width."""
    y, height = y_and_height
    attributes = {"x": percent(x), "width": percent(width), "y": y, "height": height, "class": kind}
    return element("rect", attributes, *([element("title", {}, title)] if title else []))


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> Markup:
    """Give a straight line between (share of the width, y in pixels) points."""
    attributes = {"x1": percent(start[0]), "y1": start[1], "x2": percent(end[0]), "y2": end[1], "class": kind}
    return element("line", attributes)


def curve(points: Iterable[tuple[float, float]], y_and_height: tuple[float, float], kind: str) -> Markup:
    """Give a curve through points in the unit square (y upward), stretched over the picture's width."""
    path = "M" + "L".join(f"{1000 * x:.1f} {1000 * (1 - y):.1f}" for x, y in points)
    y, height = y_and_height
    frame = {
        "x": 0,
        "y": y,
        "width": "100%",
        "height": height,
        "viewBox": "0 0 1000 1000",
        "preserveAspectRatio": "none",
    }
    return element("svg", frame, element("path", {"d": path, "class": kind, "vector-effect": "non-scaling-stroke"}))


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
