"""The story's texts side by side in a terminal, what differs in red."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText

from hil.demos.story import Story, Text


def print_story(story: Story) -> None:
    """Print what each node wrote, and by how much it differs from the undisturbed text."""
    table = Table(expand=True, title=f"{story.strikes} bits of weights and state struck, the same on both nodes")
    for text in story.texts:
        table.add_column(text.name, ratio=1, overflow="fold")
    table.add_row(*(_marked(text) for text in story.texts))
    table.add_section()
    table.add_row(*(_facts(text, story) for text in story.texts))
    console = Console()
    console.print(table)
    console.print(
        f"surprise of the undisturbed model at its own text: {story.undisturbed.surprise_nats:.2f} nats a character; "
        "random characters: more than 4"
    )


def _marked(text: Text) -> RichText:
    same, other = text.written[: text.first_difference], text.written[text.first_difference :]
    return RichText(same).append(other, style="red")


def _facts(text: Text, story: Story) -> RichText:
    length = len(story.undisturbed.written)
    whole = text.first_difference == length
    words = "every character as undisturbed" if whole else f"as undisturbed up to character {text.first_difference}"
    parts = [words, f"surprise {text.surprise_nats:.2f} nats a character", f"{text.corrected} words corrected"]
    parts += [f"ended after {len(text.written)} characters: {text.end}"] if text.end else []
    return RichText("; ".join(parts), style="green" if whole else "red")
