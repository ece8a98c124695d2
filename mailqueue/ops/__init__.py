"""Facts about the queue as data: the admin, commands and metrics share them. Nothing here changes a mail."""
