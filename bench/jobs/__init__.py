"""Work that needs a contestant's settings: each function is run by `bench.job` in a process of its own."""
