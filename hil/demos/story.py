"""The story: a small transformer writes a text while its memory is struck, unprotected and protected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError
from hil.compiler import compile_model
from hil.demos.pair import Delivered, Pair, strikes
from hil.progress import ProgressEvent, ProgressSink
from hil.strikes import Stream
from hil.workloads import story
from node.computer import Computer
from node.model.image import Image
from node.protection import Protection

REGIONS = ("weights", "state")
PROTECTIONS = {
    "unprotected": Protection(),
    "protected": Protection(code="hsiao_72_64", regions=REGIONS, verify_on_use=True),
}
TEMPERATURE = 0.7
"""Below 1 the likelier characters are preferred."""
FIRST = "\n"
LARGEST_LOGIT = 1e6

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StoryOptions:
    """How long a text, under how many strikes, from which seed, on which nodes."""

    characters: int = 400
    strikes: float = 0.1
    seed: int = 1
    target: str = "pty"

    def __post_init__(self) -> None:
        if self.characters < 1 or not 0.0 <= self.strikes <= 100.0:
            raise ConfigError(
                f"--characters {self.characters}, --strikes {self.strikes:g}: give 1 or more, and 0 to 100"
            )


@dataclass(frozen=True, kw_only=True)
class Text:
    """What one node wrote.

    Parameters
    ----------
    written : str
        Shorter than asked for where the node ended.
    surprise_nats : float
        Mean cross-entropy of the text for an undisturbed model: about 1 for its own text, 4 for random characters.
    first_difference : int
        Where it leaves the undisturbed text; its length where it does not.
    corrected : int
        Words that the node corrected.
    end : str
        Why it ended early, empty if it did not.
    """

    name: str
    written: str
    surprise_nats: float
    first_difference: int
    corrected: int = 0
    end: str = ""


@dataclass(frozen=True, kw_only=True)
class Story:
    """The undisturbed text, and what each node wrote under so many strikes."""

    undisturbed: Text
    texts: tuple[Text, ...]
    strikes: int


def write_story(options: StoryOptions, progress: ProgressSink) -> Story:
    """Have both nodes write, each fed with its own last character, under the same strikes."""
    image = compile_model(story().model_path)
    with np.load(story().inputs_path) as arrays:
        alphabet = bytes(arrays["characters"]).decode("ascii")
    writers = [_Writer(name, alphabet, options.seed) for name in PROTECTIONS]
    tokens = {"token": np.arange(len(alphabet), dtype=np.int64)[:, None]}
    struck = 0
    with Pair(options.target, image, tokens, protections=tuple(PROTECTIONS.values()), progress=progress) as pair:
        for number in range(options.characters):
            stream = Stream(f"story {options.seed}", number, "strikes")
            faults = strikes(image, REGIONS, stream, stream.poisson(options.strikes))
            struck += len(faults)
            for index, writer in enumerate(writers):
                if not writer.end:
                    writer.take(pair.run(index, writer.token, faults, isolate=number == 0))
            progress(ProgressEvent(stage="write", done=number + 1, total=options.characters))
    undisturbed = _undisturbed(image, _Writer("undisturbed", alphabet, options.seed), options.characters)
    texts = tuple(_judged(image, writer, undisturbed) for writer in writers)
    return Story(undisturbed=_judged(image, undisturbed, undisturbed), texts=texts, strikes=struck)


class _Writer:
    """The text of one node so far, and how the next character is chosen: by the same lot for all."""

    def __init__(self, name: str, alphabet: str, seed: int) -> None:
        self.name = name
        self.tokens: list[int] = []
        self.corrected = 0
        self.end = ""
        self.alphabet = alphabet
        self._seed = seed

    @property
    def token(self) -> int:
        return self.tokens[-1] if self.tokens else self.alphabet.index(FIRST)

    @property
    def text(self) -> str:
        return "".join(self.alphabet[token] for token in self.tokens)

    def take(self, delivered: Delivered) -> None:
        self.corrected += delivered.corrected
        if delivered.output is None:
            self.end = delivered.why
            return
        self.choose(np.frombuffer(delivered.output, np.float32))

    def choose(self, logits: NDArray[np.float32]) -> None:
        lot = Stream(f"story {self._seed}", len(self.tokens), "choice").uniform()
        shares = np.cumsum(np.exp(log_shares(logits, TEMPERATURE)))
        self.tokens.append(min(int(np.searchsorted(shares, lot * shares[-1])), len(shares) - 1))


def log_shares(logits: NDArray[np.float32], temperature: float = 1.0) -> Floats:
    """Give the logarithm of each character's share; what is no number has none.

    Examples
    --------
    >>> bool(np.isclose(np.exp(log_shares(np.array([1.0, np.nan, 2.0], np.float32))).sum(), 1.0))
    True
    """
    scores = np.clip(np.nan_to_num(logits.astype(np.float64), nan=-LARGEST_LOGIT), -LARGEST_LOGIT, LARGEST_LOGIT)
    scores /= temperature
    scores -= scores.max()
    return np.asarray(scores - np.log(np.exp(scores).sum()))


def _undisturbed(image: Image, writer: _Writer, characters: int) -> _Writer:
    with Computer(image) as computer:
        for _ in range(characters):
            writer.choose(computer.infer({"token": np.array([writer.token])})["logits"][0].astype(np.float32))
    return writer


def _judged(image: Image, writer: _Writer, undisturbed: _Writer) -> Text:
    nats = []
    with Computer(image) as computer:
        for before, token in zip([writer.alphabet.index(FIRST), *writer.tokens], writer.tokens, strict=False):
            logits = computer.infer({"token": np.array([before])})["logits"][0].astype(np.float32)
            nats.append(-float(log_shares(logits)[token]))
    differs = (k for k, pair in enumerate(zip(writer.tokens, undisturbed.tokens, strict=False)) if pair[0] != pair[1])
    return Text(
        name=writer.name,
        written=writer.text,
        surprise_nats=float(np.mean(nats)) if nats else 0.0,
        first_difference=next(differs, len(writer.tokens)),
        corrected=writer.corrected,
        end=writer.end,
    )
