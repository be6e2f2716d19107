"""What all pages share: one template around them, one style, one way to write a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from firmware_bridge.errors import ConfigError
from hil.report import numbers
from hil.report.budget import PORTABILITY, Source, budget_of
from hil.report.summary import Summary

_FOLDER = Path(__file__).parent


def render_page(template: str, summary: Summary, values: dict[str, Any]) -> str:
    """Give a page that extends ``page.html``: one file that opens with what was struck and needs nothing else.

    Parameters
    ----------
    template : str
        Name of a file of this package.
    summary : Summary
        The run whose name and budget stand at the head.
    values : dict
        What the template itself asks for.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = budget_of(summary)
    environment.globals.update(
        header=summary.header,
        budget={source: [line for line in lines if line.source == source.value] for source in Source},
        Source=Source,
        portability=PORTABILITY,
        text=numbers,
        style=Markup((_FOLDER / "report.css").read_text()),  # noqa: S704 - our own file
        **values,  # macros of a template see nothing but globals
    )
    return environment.get_template(template).render()


def write_file(path: Path, text: str) -> None:
    """Write a text beside its place and move it there; what cannot be written is a ConfigError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(
            f"{path}: cannot write the report: {error.strerror}; make room or give rights there"
        ) from None
