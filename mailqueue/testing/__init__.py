"""What tests of a site that uses mailqueue can use: a mail server that says what a test wants."""

from mailqueue.testing.smtp_script import Command, CutBody, Drop, Silence, Unanswered
from mailqueue.testing.smtp_server import Accepted, SmtpServer
from mailqueue.testing.smtp_session import Session

__all__ = ["Accepted", "Command", "CutBody", "Drop", "Session", "Silence", "SmtpServer", "Unanswered"]
