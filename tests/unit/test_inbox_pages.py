from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from project.dev.maildir import Maildir

pytestmark = pytest.mark.urls("tests.support.inbox_urls")

MAIL = b"""\
Subject: =?utf-8?q?Your_order_=E2=9C=93?=\r
From: Shop <shop@example.com>\r
To: ann@example.com\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/plain; charset=utf-8\r
\r
Thank you & <b>goodbye</b>\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<p>Thank you</p><script>alert(1)</script>\r
--b\r
Content-Type: text/html; name="../evil.html"\r
Content-Disposition: attachment; filename="../evil.html"\r
\r
<script>alert(2)</script>\r
--b--\r
"""


@pytest.fixture
def maildir(tmp_path: Path, settings: Settings) -> Maildir:
    settings.DEV_INBOX_DIR = tmp_path
    return Maildir(tmp_path)


@pytest.fixture
def name(maildir: Maildir) -> str:
    return maildir.add(MAIL, envelope_from="bounce@example.com", recipients=["ann@example.com", "bob@example.com"])


def test_an_empty_inbox_says_so(client: Client, maildir: Maildir) -> None:
    assert "Nothing has arrived yet" in client.get("/inbox/").text


def test_the_list_shows_the_newest_first(client: Client, maildir: Maildir) -> None:
    for number in range(3):
        maildir.add(b"Subject: mail %d\r\n\r\n" % number, envelope_from="", recipients=["ann@example.com"])
    page = client.get("/inbox/").text

    assert page.index("mail 2") < page.index("mail 1") < page.index("mail 0")


def test_the_list_names_the_recipients_of_the_envelope(client: Client, name: str) -> None:
    page = client.get("/inbox/").text

    assert "Your order ✓" in page
    assert "ann@example.com, bob@example.com" in page


def test_a_mail_is_shown_with_its_headers_and_envelope(client: Client, name: str) -> None:
    page = client.get(f"/inbox/{name}/").text

    assert "Thank you &amp; &lt;b&gt;goodbye&lt;/b&gt;" in page
    assert "&lt;bounce@example.com&gt;" in page
    assert f'<iframe sandbox referrerpolicy="no-referrer" src="/inbox/{name}/html/"' in page


def test_the_html_of_a_mail_can_do_nothing(client: Client, name: str) -> None:
    response = client.get(f"/inbox/{name}/html/")

    assert "<p>Thank you</p>" in response.text
    assert (
        response["Content-Security-Policy"] == "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    assert response["X-Frame-Options"] == "SAMEORIGIN"


def test_an_attachment_is_only_ever_downloaded(client: Client, name: str) -> None:
    response = client.get(f"/inbox/{name}/attachments/1/")

    assert response.content.strip() == b"<script>alert(2)</script>"
    assert response["Content-Disposition"] == 'attachment; filename="evil.html"'
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_the_source_is_what_came_over_the_wire_below_the_envelope(client: Client, name: str) -> None:
    response = client.get(f"/inbox/{name}/source/")

    assert response.content.endswith(MAIL)
    assert response["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "{name}/attachments/0/",
        "{name}/attachments/2/",
        "../{name}/",
        "..%2Fnew%2F{name}/",
        "{name}%00/",
        "0000000000000000000.0123456789abcdef/",
        "..%2F..%2Fsecret/source/",
    ],
)
def test_what_is_not_there_is_not_found(client: Client, maildir: Maildir, name: str, path: str) -> None:
    (maildir.folder / "secret").write_text("secret")

    assert client.get("/inbox/" + path.format(name=name)).status_code == 404


def test_a_mail_without_html_has_no_html_page(client: Client, maildir: Maildir) -> None:
    name = maildir.add(b"Subject: x\r\n\r\ntext", envelope_from="", recipients=[])

    assert client.get(f"/inbox/{name}/html/").status_code == 404


def test_a_mail_of_nonsense_is_shown(client: Client, maildir: Maildir) -> None:
    name = maildir.add(b"\xff\x00\r\n" * 10, envelope_from="", recipients=["\udcff@example.com"])

    assert client.get(f"/inbox/{name}/").status_code == 200
    assert client.get("/inbox/").status_code == 200


def test_pages_are_for_reading(client: Client, name: str) -> None:
    assert client.post(f"/inbox/{name}/").status_code == 405
