"""The limit without a queue: threads that build Django messages and send each over a connection kept open.

Run as `python -m bench.peers.bare_loop COUNT THREADS PROCESSES`.
"""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import django
from django.core.mail import EmailMultiAlternatives, get_connection

from bench.mails import SENDER, Content, content


def send(mails: list[Content]) -> None:
    connection = get_connection()
    connection.open()
    for mail in mails:
        message = EmailMultiAlternatives(mail.subject, mail.text, SENDER, [mail.recipient], connection=connection)
        message.attach_alternative(mail.html, "text/html")
        message.send()
    connection.close()


def send_by_threads(mails: list[Content], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, [part for n in range(threads) if (part := mails[n::threads])]))


def main(count: int, threads: int, processes: int) -> None:
    django.setup()
    mails = [content(number) for number in range(count)]
    if processes == 1:
        send_by_threads(mails, threads)
        return
    fork = multiprocessing.get_context("fork")
    members = [fork.Process(target=send_by_threads, args=(mails[n::processes], threads)) for n in range(processes)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    sys.exit(max(member.exitcode or 0 for member in members))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
