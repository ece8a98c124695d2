"""Tags for our templates of the admin."""
