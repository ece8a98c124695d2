"""The queue in Postgres: claim, start, settle, release, reap. The only code that locks rows, the only raw SQL.

Every function takes a cursor and expects an open transaction: the sender's loop groups what it does into one commit.
"""
