"""The deployable site around mailqueue: settings, addresses, and a tiny shop to try it with."""
