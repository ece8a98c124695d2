"""The process that sends: one loop for the database, connections in threads, nothing that dies of a mail."""
