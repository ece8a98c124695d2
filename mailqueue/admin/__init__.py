"""What people see and do: mail in the place of post_office's own admin, backends, refused addresses and senders."""

from mailqueue.admin import attachments, backends, emails, logs, refusals, senders

__all__ = ["attachments", "backends", "emails", "logs", "refusals", "senders"]
