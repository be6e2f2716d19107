"""The page of an exhaustive campaign: shares of outcomes and the map of bits, in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hil.campaign.exhaustive_run import Exhaustive
from hil.report.bit_map import LayerMap, Shares, layer_maps, picture_url
from hil.report.page import write_file
from node.model.frames import NotIncremental
from node.model.image import Image

PAGE_FILE = "exhaustive.html"


def write_exhaustive_page(directory: Path, image: Image, result: Exhaustive) -> Path:
    """Write ``exhaustive.html`` into a results directory and give its path."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    counts = {name: round(share * result.codes.size) for name, share in result.shares().items()}
    page = environment.get_template("exhaustive.html").render(
        about=result.about,
        faults=result.codes.shape[0] * result.codes.shape[1],
        inputs=len(result.inputs),
        shares=result.shares(),
        counts=counts,
        maps=_maps(image, result),
        picture=picture_url,
        highest=highest,
    )
    path = directory / PAGE_FILE
    write_file(path, page)
    return path


def highest(shares: Shares) -> float:
    """Give the largest share of a map, 0 where nothing struck."""
    return float(np.nan_to_num(shares).max(initial=0.0))


def _maps(image: Image, result: Exhaustive) -> list[LayerMap]:
    if result.about["region"] != "weights":
        return []
    try:
        return layer_maps(image, result)
    except NotIncremental:
        # Operators whose packing is not known here: the shares stand, the map would have to guess.
        return []
