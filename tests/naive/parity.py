"""Parity by counting ones, in Python integers."""


def encode(words: list[int]) -> list[int]:
    check = [0] * -(-len(words) // 8)
    for w, word in enumerate(words):
        check[w // 8] |= bin(word).count("1") % 2 << w % 8
    return check


def wrong_words(words: list[int], check: list[int]) -> int:
    return sum(bin(word).count("1") % 2 != check[w // 8] >> w % 8 & 1 for w, word in enumerate(words))
