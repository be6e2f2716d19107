"""Products and convolutions that check their own sums."""
