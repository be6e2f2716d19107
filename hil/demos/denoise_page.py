"""The denoiser's pictures as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from firmware_bridge.errors import ConfigError
from hil.demos.denoise import PROTECTIONS, Gallery
from hil.report.page import write_file
from hil.report.png import png_address

PAGE_FILE = "denoise.html"


def write_gallery(gallery: Gallery, directory: Path) -> Path:
    """Write the page into a directory, made where it is missing, and give its path.

    Raises
    ------
    ConfigError
        Nothing can be written there.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("denoise.html")
    text = template.render(gallery=gallery, address=png_address, code=PROTECTIONS["protected"].code)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot write here: {error.strerror}; choose another --out") from None
    page = directory / PAGE_FILE
    write_file(page, text)
    return page
