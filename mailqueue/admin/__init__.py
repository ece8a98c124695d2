"""What people see and do: mail in the place of post_office's own admin, the queue, backends, refusals and senders."""

from mailqueue.admin import attachments, backends, emails, logs, queue, refusals, senders

__all__ = ["attachments", "backends", "emails", "logs", "queue", "refusals", "senders"]
