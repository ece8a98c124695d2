"""A tiny business app: an order is what the mail of the benchmark is about."""
