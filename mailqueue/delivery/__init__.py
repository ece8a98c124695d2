"""One mail in, one outcome out. Knows no database.

`outcomes`, `classify` and `backoff` are pure; `smtp` and `backends` are the edges.
"""
