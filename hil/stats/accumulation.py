"""How upsets gather in protected memory: closed forms for codes with and without scrubbing, TMR and Reed-Solomon.

Upsets come to each bit independently at a constant rate. What is predicted here is simulated with the real codes of
:data:`node.CODES` in the tests, and has to agree.

Sources: A. M. Saleh, J. J. Serrano, J. H. Patel, "Reliability of scrubbing recovery-techniques for memory systems",
IEEE Trans. Reliability 39(1):114, 1990 (codes that correct one bit); R. E. Lyons, W. Vanderkulk, "The use of
triple-modular redundancy to improve computer reliability", IBM J. 6(2):200, 1962 (TMR). Each form was derived again
from its model.
"""

from __future__ import annotations

import math
from itertools import pairwise

from firmware_bridge.errors import DataError

_STEPS = 4096
_NEGLIGIBLE = 1e-12


def flip_probability(rate: float, time: float, *, toggles: bool = False) -> float:
    """Give the chance that a bit is wrong after ``time`` at ``rate`` upsets a unit of time.

    ``1 - e^(-lam T)`` where the first upset decides (a stuck cell, or too few for a second one to matter);
    ``(1 - e^(-2 lam T)) / 2`` where a second upset of the same bit takes the first one back.

    Examples
    --------
    >>> round(flip_probability(0.1, 1.0), 6), round(flip_probability(0.1, 1.0, toggles=True), 6)
    (0.095163, 0.090635)
    """
    _require(rate=rate, time=time)
    return -math.expm1(-2.0 * rate * time) / 2.0 if toggles else -math.expm1(-rate * time)


def word_failure(p: float, n: int, corrects: int = 1) -> float:
    """Give the chance that more symbols of a codeword are wrong than it corrects.

    ``sum of C(n, j) p^j (1-p)^(n-j)`` over ``j > corrects``; for one corrected bit ``1 - (1-p)^n - n p (1-p)^(n-1)``.

    Parameters
    ----------
    p : float
        Chance that one symbol is wrong.
    n, corrects : int
        Symbols of a codeword, check symbols included; wrong symbols that are corrected.

    Examples
    --------
    >>> f"{word_failure(1e-4, 72):.4e}"
    '2.5441e-05'
    """
    _require_share(p)
    if p in (0.0, 1.0):
        return float(p == 1.0 and n > corrects)
    total, highest = 0.0, n * p
    for wrong in range(corrects + 1, n + 1):
        term = math.exp(_log_choose(n, wrong) + wrong * math.log(p) + (n - wrong) * math.log1p(-p))
        total += term
        if wrong > highest and term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def mttf_scrubbed(rate: float, period: float, n: int, codewords: float, corrects: int = 1) -> float:
    """Give the mean time to the first uncorrectable codeword of a memory that is scrubbed every ``period``.

    ``T / (1 - (1 - P)^N)``: each period is a new trial for all codewords. For one corrected bit and rare upsets about
    ``2 / (N n (n-1) lam^2 T)``.

    Examples
    --------
    >>> f"{mttf_scrubbed(1e-7, 1.0, 72, 1000):.4g}"  # upsets per bit and day, a pass a day
    '3.912e+07'
    """
    _require(rate=rate, period=period)
    failure = word_failure(flip_probability(rate, period), n, corrects)
    within = -math.expm1(codewords * math.log1p(-failure)) if failure < 1.0 else 1.0
    return math.inf if within == 0.0 else period / within


def mttf_scrubbed_at_random(rate: float, scrub_rate: float, n: int) -> float:
    """Give the mean time to failure of one codeword (one bit corrected) that is scrubbed at random moments.

    ``((2n-1) lam + mu) / (n (n-1) lam^2)``, from a Markov chain of no, one and two wrong bits; with equal mean half of
    what a strict period gives.
    """
    _require(rate=rate, scrub_rate=scrub_rate)
    return ((2 * n - 1) * rate + scrub_rate) / (n * (n - 1) * rate**2)


def mttf_unscrubbed(rate: float, n: int, codewords: float) -> float:
    """Give the mean time to the first codeword with two wrong bits when nothing ever scrubs.

    The integral over time of ``(e^(-n lam t) (1 + n (e^(lam t) - 1)))^N``, by Simpson's rule.

    Examples
    --------
    >>> words = 64 * 2**20 // 8  # 64 MiB under (72,64), a recorder's 1.12e-7 upsets per bit and day
    >>> round(mttf_unscrubbed(1.12e-7, 72, words), 2), round(mttf_unscrubbed_closed(1.12e-7, 72, words), 2)
    (54.05, 54.04)
    """
    _require(rate=rate)
    end = 12.0 * mttf_unscrubbed_closed(rate, n, codewords)

    def survival(time: float) -> float:
        exponent = codewords * (math.log1p(n * math.expm1(rate * time)) - n * rate * time)
        return math.exp(exponent)

    times = [end * step / _STEPS for step in range(_STEPS + 1)]
    values = [survival(time) for time in times]
    middles = (survival((first + second) / 2.0) for first, second in pairwise(times))
    thirds = (4.0 * middle + first + second for middle, (first, second) in zip(middles, pairwise(values), strict=True))
    return end / _STEPS / 6.0 * sum(thirds)


def mttf_unscrubbed_closed(rate: float, n: int, codewords: float) -> float:
    """Give about the same in closed form: ``sqrt(pi / (2 N)) / (lam sqrt(n (n-1)))``, the birthday law."""
    _require(rate=rate)
    return math.sqrt(math.pi / (2.0 * codewords)) / (rate * math.sqrt(n * (n - 1)))


def scrub_period(rate: float, n: int, codewords: float, duration: float, probability: float) -> float:
    """Give the scrub period at which a memory fails within ``duration`` with about this probability.

    ``2 eps / (N n (n-1) lam^2 D)``, for one corrected bit and rare upsets.

    Examples
    --------
    >>> round(scrub_period(1e-9, 72, 1000, 86_400.0, 1e-6), 6)
    4.528198
    """
    _require(rate=rate, duration=duration)
    _require_share(probability)
    return 2.0 * probability / (codewords * n * (n - 1) * rate**2 * duration)


def symbol_error(bit_error_rate: float, bits: int = 8) -> float:
    """Give the chance that a symbol of so many bits is wrong: ``1 - (1 - BER)^bits``."""
    _require_share(bit_error_rate)
    return -math.expm1(bits * math.log1p(-bit_error_rate)) if bit_error_rate < 1.0 else 1.0


def reed_solomon_failure(bit_error_rate: float, n: int = 255, corrects: int = 16) -> float:
    """Give the chance that a Reed-Solomon codeword over bytes cannot be corrected at a bit error rate.

    Examples
    --------
    >>> f"{reed_solomon_failure(1e-3):.3e}"
    '4.690e-11'
    """
    return word_failure(symbol_error(bit_error_rate), n, corrects)


def tmr_bit_failure(p: float) -> float:
    """Give the chance that a vote of three is wrong where each copy is with chance ``p``: ``3 p^2 - 2 p^3``.

    Examples
    --------
    >>> round(1.0 - tmr_bit_failure(1.0 - 0.9), 3)  # each copy right with 0.9
    0.972
    """
    _require_share(p)
    return 3.0 * p**2 - 2.0 * p**3


def tmr_word_failure(p: float, bits: int = 64) -> float:
    """Give the chance that a word of so many bits is wrong after a bitwise vote: ``1 - (1 - 3p^2 + 2p^3)^bits``.

    Examples
    --------
    >>> f"{tmr_word_failure(1e-4):.5e}"
    '1.91987e-06'
    """
    failure = tmr_bit_failure(p)
    return -math.expm1(bits * math.log1p(-failure)) if failure < 1.0 else 1.0


def tmr_mttf(rate: float, repair_rate: float = 0.0) -> float:
    """Give the mean time until two of three copies are wrong: ``5 / (6 lam) + mu / (6 lam^2)``."""
    _require(rate=rate)
    return 5.0 / (6.0 * rate) + repair_rate / (6.0 * rate**2)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _require(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise DataError(f"accumulation: {name} = {value}: give a number above 0")


def _require_share(value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise DataError(f"accumulation: a probability of {value}: give 0 to 1")
