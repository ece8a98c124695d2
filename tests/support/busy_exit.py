"""A process that ends while its connections are at work: `python -m tests.support.busy_exit PORT`."""

import sys
import time

import django


def main(port: int) -> None:
    django.setup()
    from django.core.mail.backends.smtp import EmailBackend
    from post_office.models import Email

    from mailqueue.delivery.letter import Letter
    from mailqueue.delivery.smtp import SmtpCarrier
    from mailqueue.queue.claim import Claim
    from mailqueue.queue.history import History
    from mailqueue.sender import pool as pools
    from mailqueue.sender.clock import boot_time
    from mailqueue.sender.jobs import Job, Lease
    from tests.support.letters import RECIPIENT, SENDER, message

    pools.carrier_for = lambda _: SmtpCarrier(EmailBackend(alias="test", host="127.0.0.1", port=port))
    pool = pools.Pool(8, accepted=lambda *_: None, wake=lambda: None)
    content = b"Subject: long\r\n\r\n" + (b"x" * 70 + b"\r\n") * 2_000_000
    for number in range(8):
        letter = Letter(SENDER, [RECIPIENT], message, write=lambda: content)
        claim = Claim(number, number, 1, "0" * 32, "default", 1)
        pool.give(Job(claim, Email(), letter, History(), Lease(asked_at=boot_time(), seconds=60)))
    time.sleep(0.5)  # into the midst of it, which nothing tells
    pool.revoke()
    pool.stop(timeout=0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
