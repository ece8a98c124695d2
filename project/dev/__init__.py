"""What only development needs: the embedded Postgres, the inbox, the launcher. Production never imports it."""
