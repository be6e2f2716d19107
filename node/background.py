"""Scrubbing beside the inferences: by the clock, in slices that no command waits for long."""

from __future__ import annotations

import time
from collections.abc import Callable

from firmware_bridge.errors import ConfigError
from node.computer import Computer
from node.ecc import CODES, Code, DecodeReport
from node.ecc.pacing import Accumulation, AdaptivePeriod, FixedPeriod, FixedShare, Pace, Pacer
from node.protection import OnDetected, Protection


def background_scrub(computer: Computer, clock: Callable[[], float] = time.monotonic) -> Pacer | None:
    """Give what scrubs a computer's memory by the clock, None where its protection asks for none.

    What a slice finds and cannot correct is loaded again where the protection says so. Where it says stop, the words
    are counted and left: whoever asks for an output decides.
    """
    protection, words = computer.protection, computer.scrubber.words
    pace: Pace
    if protection.scrub_seconds:
        pace = FixedPeriod(words=words, period_s=protection.scrub_seconds)
    elif protection.scrub_share:
        pace = FixedShare(share=protection.scrub_share)
    elif protection.scrub_target:
        pace = AdaptivePeriod(accumulation_of(computer), words, protection.scrub_target, now_s=clock())
    else:
        return None

    def scrub_slice(max_words: int) -> DecodeReport:
        report = computer.scrub_slice(max_words)
        if report.detected and protection.on_detected is not OnDetected.STOP:
            computer.recover()
        return report

    return Pacer(scrub_slice, computer.scrubber, pace, clock)


def accumulation_of(computer: Computer) -> Accumulation:
    """Give how upsets gather in what the computer guards."""
    code = CODES[computer.protection.code]
    bits = 8 * sum(region.data.size for region in computer.guarded)
    return Accumulation(
        codewords=bits / code.k,
        symbols=code.n // code.symbol_bits,
        symbol_bits=code.symbol_bits,
        corrects=corrected_symbols(code),
    )


def corrected_symbols(code: Code) -> int:
    """Give how many wrong symbols a code corrects: half of what its distance leaves."""
    return (code.d - 1) // 2


def check_background(protection: Protection) -> None:
    """Refuse a target that no scrub can hold: a code that corrects nothing fails at the first upset.

    Raises
    ------
    ConfigError
        ``scrub_target`` with such a code.
    """
    if protection.scrub_target and not corrected_symbols(CODES[protection.code]):
        raise ConfigError(
            f"protection: scrub_target with code = {protection.code!r}: it corrects nothing, so that no scrub can "
            "hold a target; choose a code that corrects, or scrub_seconds"
        )
