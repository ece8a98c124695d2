"""The process that sends: one loop for the database, connections in another thread, nothing that dies of a mail."""
