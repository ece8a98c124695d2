"""What one sender may do with a backend, of what all know and what it has seen."""

import pytest

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.queue.health import Health
from mailqueue.queue.presence import Presence, share_of
from mailqueue.queue.rate import Limits as RateLimits
from mailqueue.sender.limits import Limits
from mailqueue.sender.options import Options

SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "Ok"))
ME, OTHER = "a.1.x", "b.2.y"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time (monotonic seconds), which stands still: each second opens a connection more, and ends rests."""
    now = [100.0]
    monkeypatch.setattr("mailqueue.sender.limits.time.monotonic", lambda: now[0])
    return now


def failed(trouble: Trouble, stage: Stage = Stage.GREETING) -> Outcome:
    return Outcome(Verdict.DEFER, stage, Blame.BACKEND, trouble, Reply(421, "busy"))


def limits_of(health: Health | None = None, **configured: float) -> Limits:
    limits = Limits(
        options=Options(concurrency=8, using="default", sender=ME),
        configuration=Configuration(RATE_LIMITS={"smtp": configured}),
    )
    limits.learn({"smtp": health or Health()})
    limits.presence = [Presence(ME, (), 8), Presence(OTHER, (), 8)]
    return limits


def test_the_first_connection_comes_alone_and_each_answer_allows_one_more_up_to_the_concurrency() -> None:
    limits = limits_of()
    allowed = [limits.connections("smtp")]
    for _ in range(9):
        limits.note("smtp", SENT)
        allowed.append(limits.connections("smtp"))

    assert [1, 2, 3, 4, 5, 6, 7, 8, 8, 8] == allowed


@pytest.mark.parametrize("trouble", [Trouble.CONNECT, Trouble.CROWDED, Trouble.BUSY, Trouble.SHUT])
def test_a_server_that_turns_away_gets_half_the_connections(trouble: Trouble) -> None:
    limits = limits_of()
    for _ in range(7):
        limits.note("smtp", SENT)
    limits.note("smtp", failed(trouble))
    halved = limits.connections("smtp")
    for _ in range(5):
        limits.note("smtp", failed(trouble))

    assert (4, 1) == (halved, limits.connections("smtp"))


def test_while_a_server_is_silent_one_more_connection_is_opened_each_second(now: list[float]) -> None:
    limits = limits_of()
    allowed = []
    for _ in range(10):
        allowed.append(limits.connections("smtp"))
        next_at = limits.startable_at("smtp")
        now[0] += 1

    assert ([1, 2, 3, 4, 5, 6, 7, 8, 8, 8], now[0]) == (allowed, next_at)


def test_mail_of_a_resting_backend_may_start_when_it_has_rested() -> None:
    limits = limits_of()
    limits.wait("smtp", seconds=30)

    assert limits.rested_at("smtp") == limits.startable_at("smtp")


def test_what_never_reached_the_server_says_nothing_about_it() -> None:
    limits = limits_of()
    limits.note("smtp", Outcome(Verdict.FAIL, Stage.BUILD, Blame.MESSAGE))

    assert 1 == limits.connections("smtp")


def test_a_backend_that_was_shut_begins_with_one_connection() -> None:
    limits = limits_of()
    for _ in range(7):
        limits.note("smtp", SENT)
    limits.learn({"smtp": Health(is_shut=True)})

    assert 1 == limits.connections("smtp")


def test_a_limit_on_connections_is_shared_out_among_the_senders() -> None:
    limits = limits_of(connections=3)
    for _ in range(7):
        limits.note("smtp", SENT)

    assert 2 == limits.connections("smtp")


def test_what_a_person_says_goes_before_the_settings_and_what_was_learned_before_both() -> None:
    limits = limits_of(Health(max_connections=5, max_per_second=7.5, max_per_day=9), connections=3, per_second=1)
    said = limits.most_connections("smtp")
    limits.learn({"smtp": Health(max_connections=5, connection_limit=2)})

    assert (5, 2) == (said, limits.most_connections("smtp"))
    assert RateLimits(1, None) == limits.rate("smtp")


def test_a_person_s_rate_goes_before_that_of_the_settings() -> None:
    limits = limits_of(Health(max_per_second=7.5, max_per_day=9), per_second=1, per_day=2)

    assert RateLimits(7.5, 9) == limits.rate("smtp")


@pytest.mark.parametrize(
    ("health", "configured", "expected"),
    [
        (Health(), {}, False),
        (Health(), {"connections": 3}, False),
        (Health(), {"per_second": 3}, True),
        (Health(max_per_day=3), {}, True),
        (Health(was_throttled=True), {}, True),
    ],
)
def test_only_a_backend_with_a_rate_asks_the_database_before_each_start(
    health: Health, configured: dict[str, float], expected: bool
) -> None:
    assert expected == limits_of(health, **configured).is_metered("smtp")


def test_a_sender_without_a_share_gives_back_what_it_has() -> None:
    limits = limits_of(connections=1)
    limits.presence = [Presence("a.0.first", (), 8), Presence(ME, (), 8)]

    assert (0, True) == (limits.connections("smtp"), limits.is_out("smtp"))


@pytest.mark.parametrize("health", [Health(is_shut=True), Health(is_paused=True), Health(rest_seconds=100)])
def test_mail_claimed_for_a_backend_that_takes_nothing_is_given_back(health: Health) -> None:
    assert {"smtp"} == limits_of(health).outs(["smtp", "other"])


def test_a_short_rest_keeps_what_is_claimed() -> None:
    limits = limits_of(Health(rest_seconds=0.5))

    assert (True, False) == (limits.is_resting("smtp"), limits.is_out("smtp"))


def test_a_rest_that_a_person_ended_is_over() -> None:
    limits = limits_of(Health(rest_seconds=3600))
    limits.learn({"smtp": Health()})

    assert not limits.is_resting("smtp")


def test_a_rest_has_its_end_by_the_clock_of_the_process(now: list[float]) -> None:
    limits = limits_of()
    limits.wait("smtp", seconds=5)

    assert now[0] + 5 == limits.rested_at("smtp")


def test_connections_and_senders_are_counted_among_those_who_serve_the_backend() -> None:
    limits = limits_of()
    limits.presence = [Presence(ME, (), 8), Presence(OTHER, ("other",), 4), Presence("c", ("smtp",), 2)]

    assert (10, 2) == (limits.total_connections("smtp"), limits.sender_count("smtp"))


def test_a_sender_that_knows_of_nobody_counts_itself() -> None:
    limits = limits_of()
    limits.presence = []

    assert (8, 1) == (limits.total_connections("smtp"), limits.sender_count("smtp"))


@pytest.mark.parametrize("limit", range(8))
def test_shares_are_even_and_add_up(limit: int) -> None:
    presence = [Presence(name, (), 8) for name in "abc"]
    shares = [share_of(limit, name=name, backend="smtp", presence=presence) for name in "abc"]

    assert (limit, True) == (sum(shares), max(shares) - min(shares) <= 1)


def test_who_is_not_seen_yet_counts_on_all_of_it() -> None:
    assert 3 == share_of(3, name=ME, backend="smtp", presence=[Presence(OTHER, (), 8)])


def test_what_a_turn_found_out_leaves_rests_to_the_database() -> None:
    limits = limits_of()
    limits.correct("smtp", Health(rest_seconds=100, failure_count=1))

    assert (False, 1) == (limits.is_resting("smtp"), limits.of("smtp").failure_count)


def test_a_probe_may_go_whatever_the_share() -> None:
    limits = limits_of(Health(is_shut=True), connections=1)
    limits.presence = [Presence("a.0.first", (), 8), Presence(ME, (), 8)]

    assert 1 == limits.connections("smtp")


def test_limits_of_the_default_backend_may_be_named_by_nothing() -> None:
    limits = Limits(
        options=Options(concurrency=8, using="default", sender=ME),
        configuration=Configuration(RATE_LIMITS={"": {"per_second": 3}}),
    )

    assert RateLimits(3, None) == limits.rate(canonical(""))


def test_a_wait_for_all_ends_when_the_database_says_so_and_one_of_this_sender_by_itself() -> None:
    limits = limits_of()
    limits.wait("smtp", seconds=3600)
    limits.learn({"smtp": Health()})
    after_a_long_one = limits.is_resting("smtp")
    limits.wait("smtp", seconds=30)
    limits.learn({"smtp": Health()})

    assert (False, True) == (after_a_long_one, limits.is_resting("smtp"))
