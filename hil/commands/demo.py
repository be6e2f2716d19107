"""``hil demo``: the example campaign on a node behind a pseudo-terminal, or a text or pictures under fire."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

OPTIONAL_FILE = click.Path(path_type=Path)
Given = dict[str, Any]
BELONGS = {
    "trials": ("digits",),
    "characters": ("story",),
    "model": ("denoise",),
    "pictures": ("denoise",),
    "strikes": ("story", "denoise"),
    "seed": ("story", "denoise"),
    "target": ("story", "denoise"),
}
"""Options, and the workloads that they go with."""


@click.command()
@click.option(
    "--workload", type=click.Choice(("digits", "story", "denoise")), default="digits", show_default=True,
    help="A campaign on handwritten digits, a transformer that writes, or a denoiser of yours.",
)  # fmt: skip
@click.option("--out", type=OPTIONAL_FILE, help="Results directory [default: runs/<time>-demo].")
@click.option("--trials", type=click.IntRange(min=1), help="digits: trials per protection [default: 1000].")
@click.option("--characters", type=click.IntRange(min=1), help="story: how many are written [default: 400].")
@click.option("--model", type=OPTIONAL_FILE, help="denoise: an .onnx file.")
@click.option(
    "--pictures", type=OPTIONAL_FILE,
    help="denoise: an .npz file with original, noised and orbit_denoised, uint8 [pictures, height, width, 3].",
)  # fmt: skip
@click.option("--strikes", type=float, help="story: struck bits a character; denoise: a picture [default: 0.1, 30].")
@click.option("--seed", type=click.IntRange(min=0), help="story, denoise: another seed, other strikes [default: 1].")
@click.option("--target", help="story, denoise: where the nodes are: sim or pty [default: pty].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    workload: str,
    out: Path | None,
    trials: int | None,
    characters: int | None,
    model: Path | None,
    pictures: Path | None,
    strikes: float | None,
    seed: int | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Strike a node, and show what comes of it.

    Without options: what `hil init --example` writes, with the node as a process of its own behind a pseudo-terminal.
    """
    given: Given = {
        "trials": trials, "characters": characters, "model": model, "pictures": pictures, "strikes": strikes,
        "seed": seed, "target": target,
    }  # fmt: skip
    wanted = {key: value for key, value in given.items() if value is not None}
    for key in wanted:
        if workload not in BELONGS[key]:
            raise click.UsageError(f"--{key} does not go with --workload {workload}")
    if workload == "digits":
        _digits(out, trials, as_json=as_json)
    elif workload == "story":
        if out is not None:
            raise click.UsageError("--out does not go with --workload story: it prints its texts")
        _story(wanted, as_json=as_json)
    else:
        _denoise(wanted, out, as_json=as_json)


def _digits(out: Path | None, trials: int | None, *, as_json: bool) -> None:
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import load_campaign
    from hil.commands.results import new_directory
    from hil.commands.run import carry_out
    from hil.scaffold import CAMPAIGN_FILE, EXAMPLES

    campaign = load_campaign(EXAMPLES / CAMPAIGN_FILE)
    options = RunOptions(target="pty", trials=trials)
    carry_out(campaign, options, out or new_directory("demo"), as_json=as_json)


def _story(wanted: Given, *, as_json: bool) -> None:
    from hil.commands.progress import shown_progress
    from hil.demos.story import StoryOptions, write_story
    from hil.demos.story_text import print_story

    with shown_progress() as progress:
        story = write_story(StoryOptions(**wanted), progress)
    if as_json:
        click.echo(json.dumps(asdict(story)))
    else:
        print_story(story)


def _denoise(wanted: Given, out: Path | None, *, as_json: bool) -> None:
    from hil.commands.progress import shown_progress
    from hil.commands.results import new_directory
    from hil.demos.denoise import PROTECTIONS, DenoiseOptions, denoise
    from hil.demos.denoise_page import write_gallery

    for key in ("model", "pictures"):
        if key not in wanted:
            raise click.UsageError(f"--workload denoise needs --{key} FILE")
    if not float(wanted.get("strikes", 0)).is_integer():
        raise click.UsageError(f"--strikes {wanted['strikes']}: give a whole number of bits a picture")
    options = DenoiseOptions(**wanted | {key: int(wanted[key]) for key in ("strikes",) if key in wanted})
    with shown_progress() as progress:
        gallery = denoise(options, progress)
    page = write_gallery(gallery, out or new_directory("denoise"))
    means = {
        name: {field: round(gallery.mean(name, field), 3) for field in ("to_original", "to_orbit")}
        for name in ("undisturbed", *PROTECTIONS)
    }
    if as_json:
        click.echo(json.dumps({"page": str(page), "pictures": len(gallery.frames), "psnr_db": means}))
        return
    click.echo(
        f"{len(gallery.frames)} pictures, {gallery.strikes} bits struck in each; peak signal-to-noise ratio in dB"
    )
    click.echo(f"{'':14}{'to the original':>18}{'to orbit':>12}")
    for name, values in means.items():
        click.echo(f"{name:14}{values['to_original']:18.2f}{values['to_orbit']:12.2f}")
    click.echo(f"\npictures {page}")
