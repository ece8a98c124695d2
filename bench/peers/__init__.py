"""Who is compared: each file holds what one contestant runs."""
