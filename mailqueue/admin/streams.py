"""Answers that are made while they are fetched, on a synchronous server and on an asynchronous one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

Piece = TypeVar("Piece")


class InTurn(Generic[Piece]):
    """Gives the pieces where Django would else make all of them before it sends the first."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        # StopIteration can't come out of another thread.
        piece = await sync_to_async(lambda: next(self._pieces, None))()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """Close what gives the pieces, also where nobody wants the rest: Django calls this at the end."""
        close: Any = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def in_turn(request: HttpRequest, pieces: Iterator[Piece]) -> Iterator[Piece] | InTurn[Piece]:
    """Return what StreamingHttpResponse is to be given, so that this request is answered piece by piece."""
    return InTurn(pieces) if isinstance(request, ASGIRequest) else pieces
