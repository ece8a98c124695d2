"""A tiny business to try the outbox with."""
