"""``hil compile``: from ONNX to the flight image."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Image file to write.")
@click.option(
    "--input-shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,32,32",
    help="Shape of an input that the model leaves open; may be repeated.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="OUTPUT=INPUT",
    help="An output that feeds an input in the next inference; may be repeated. Pairs called present and past are "
    "found by themselves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: Path, output: Path, shapes: tuple[str, ...], states: tuple[str, ...], as_json: bool) -> None:
    """Compile an ONNX file into an image."""
    from hil.compiler import compile_model

    image = compile_model(model, input_shapes=parse_shapes(shapes) or None, state=parse_pairs(states))
    image.save(output)
    facts = {
        "image": str(output),
        "name": image.name,
        "digest": image.digest,
        "steps": len(image.steps),
        "weights_bytes": len(image.weights),
        "activation_bytes": image.activation_bytes,
        "inputs": {spec.name: [spec.dtype, list(spec.shape)] for spec in image.inputs},
        "outputs": {spec.name: [spec.dtype, list(spec.shape)] for spec in image.outputs},
        "state_bytes": image.state_bytes,
        "states": {spec.name: [spec.dtype, list(spec.shape)] for spec in image.states},
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):17}{value}")


def parse_pairs(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Give ``OUTPUT=INPUT`` options as a mapping, None where there are none.

    Examples
    --------
    >>> parse_pairs(("hn=h", "cn=c"))
    {'hn': 'h', 'cn': 'c'}
    """
    pairs = {}
    for text in texts:
        output, equals, name = text.partition("=")
        if not (output and equals and name):
            raise click.UsageError(f"--state {text}: write OUTPUT=INPUT")
        pairs[output] = name
    return pairs or None


def parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Give ``NAME=1,3,32,32`` options as a mapping of shapes.

    Examples
    --------
    >>> parse_shapes(("image=1,3,32,32",))
    {'image': (1, 3, 32, 32)}
    """
    shapes = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        parts = sizes.split(",")
        if not equals or not name or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            raise click.UsageError(f"--input-shape {text}: write NAME=1,3,32,32 with sizes of 1 or more")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes
