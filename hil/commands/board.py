"""``hil board``: boards that are made, not bought."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Make boards that need no hardware."""


@command.command("build-qemu")
@click.option("--fresh", is_flag=True, help="Download and compile everything anew.")
@click.option("--usual", "usual_only", is_flag=True, help="Compile only the kernels that most models need.")
@click.option("--download", "download_only", is_flag=True, help="Only fetch what it is made of.")
def build_qemu(fresh: bool, usual_only: bool, download_only: bool) -> None:
    """Make the image of the emulated board, or bring it up to date.

    The board is a Debian for arm64 with the node on its UART: `--target qemu` then boots it. Needs Debian's packages
    qemu-system-arm and qemu-user-static. The first build downloads 130 MB and compiles the node's kernels for the
    Cortex-A72, which takes some minutes; one that was interrupted goes on where it stopped.
    """
    from hil.boards.qemu.image import build_image
    from hil.boards.qemu.userland import default_folder, fetch_packages
    from hil.commands.progress import shown_progress

    with shown_progress() as progress:
        if download_only:
            fetch_packages(default_folder(), progress)
            return
        image = build_image(progress, fresh=fresh, usual_only=usual_only)
    click.echo(f"image  {image.folder}")


@command.command("build-aarch64")
def build_aarch64() -> None:
    """Make a folder whose Python for aarch64 runs as a program of this host, or bring it up to date.

    It holds what the board's software imports, so that tests can compare what a board computes with what this processor
    computes. Needs Debian's package qemu-user-static; the first time 130 MB are downloaded.
    """
    from hil.boards.qemu.userland import build_userland
    from hil.commands.progress import shown_progress

    with shown_progress() as progress:
        userland = build_userland(progress)
    click.echo(f"folder  {userland.tree}")
