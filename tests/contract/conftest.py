from tests.support.sender_fixtures import queueing, senders, server

__all__ = ["queueing", "senders", "server"]
