"""What people see and do: mail in the place of post_office's own admin, and the health of backends."""

from mailqueue.admin import attachments, backends, emails

__all__ = ["attachments", "backends", "emails"]
