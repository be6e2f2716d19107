"""A vote bit by bit."""


def majority(a: int, b: int, c: int) -> int:
    return sum(((a >> k & 1) + (b >> k & 1) + (c >> k & 1) >= 2) << k for k in range(64))


def wrong_words(words: list[int], first: list[int], second: list[int]) -> int:
    return sum(not a == b == c for a, b, c in zip(words, first, second, strict=True))


def vote(words: list[int], first: list[int], second: list[int]) -> int:
    repaired = wrong_words(words, first, second)
    for w in range(len(words)):
        words[w] = first[w] = second[w] = majority(words[w], first[w], second[w])
    return repaired
