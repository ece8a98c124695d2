"""Django's settings of each contestant: the same database, the same apps around it, the same SMTP server."""
