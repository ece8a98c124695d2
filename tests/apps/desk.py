"""A helpdesk with one queue, and what visitors and staff do on its pages."""

from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from helpdesk.models import Queue, Ticket

DESK = "help@example.com"
VISITOR = "visitor@example.com"
WATCHER = "watcher@example.com"
BOSS = "boss@example.com"


@dataclass(frozen=True)
class Desk:
    """The queue, the person who works there, and the folder in which mail for the queue is left."""

    queue: Queue
    staff: User
    mailbox: Path

    def submit(self, *, title: str, body: str, attachment: SimpleUploadedFile | None = None) -> Ticket:
        """Fill in the public form as a visitor does, and follow to the page that it leads to."""
        fields = {"queue": self.queue.pk, "title": title, "body": body, "priority": 3, "submitter_email": VISITOR}
        if attachment:
            fields["attachment"] = attachment
        answer = Client().post("/helpdesk/tickets/submit/", fields, follow=True)
        assert (200, 1) == (answer.status_code, len(answer.redirect_chain)), answer.context["form"].errors
        return Ticket.objects.latest("pk")

    def follow_up(self, ticket: Ticket, *, comment: str, attachment: SimpleUploadedFile | None = None) -> None:
        """Answer a ticket as staff does."""
        fields = {
            "queue": self.queue.pk,
            "title": ticket.title,
            "priority": ticket.priority,
            "new_status": ticket.status,
            "comment": comment,
            "public": "1",
        }
        if attachment:
            fields["attachment"] = attachment
        answer = self.client().post(f"/helpdesk/tickets/{ticket.pk}/update/", fields)
        assert ticket.get_absolute_url() == answer["Location"]

    def merge(self, ticket: Ticket, *, into: Ticket) -> None:
        """Merge a ticket into another one as staff does."""
        tickets = f"tickets={ticket.pk}&tickets={into.pk}"
        answer = self.client().post(f"/helpdesk/tickets/merge?{tickets}", {"chosen_ticket": into.pk})
        assert into.get_absolute_url() == answer["Location"]

    def receive(self, message: EmailMessage) -> None:
        """Let a mail come in."""
        (self.mailbox / "mail.eml").write_bytes(message.as_bytes())
        call_command("get_email", quiet=True)
        assert [] == list(self.mailbox.iterdir())

    def client(self) -> Client:
        client = Client()
        client.force_login(self.staff, backend="django.contrib.auth.backends.ModelBackend")
        return client


def make_desk(mailbox: Path) -> Desk:
    """Make a queue whose opened tickets the boss hears of."""
    mailbox.mkdir()
    queue = Queue.objects.create(
        title="Support",
        slug="support",
        email_address=DESK,
        new_ticket_cc=BOSS,
        allow_public_submission=True,
        allow_email_submission=True,
        email_box_type="local",
        email_box_local_dir=str(mailbox),
        email_box_interval=0,
        enable_notifications_on_email_events=True,
    )
    staff = User.objects.create_user("sue", "sue@example.com", "tulips 4711", is_staff=True, is_superuser=True)
    return Desk(queue, staff, mailbox)
