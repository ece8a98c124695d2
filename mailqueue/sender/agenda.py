"""What this sender has claimed and not started: what comes next, what goes back, and how much more to claim."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from mailqueue.delivery.backends import configured_aliases
from mailqueue.queue.claim import Claim
from mailqueue.sender.limits import Limits
from mailqueue.sender.look import PRIORITIES
from mailqueue.sender.options import Options
from mailqueue.sender.pool import Pool
from mailqueue.sender.stock import Stock


class Agenda:
    """The stock, under the limits of each backend; and the claims that are to be handed back."""

    def __init__(self, *, options: Options, limits: Limits, pool: Pool) -> None:
        self.stock = Stock()
        self.returning: list[Claim] = []
        self._backends = [alias for alias in configured_aliases() if options.serves(alias)]
        self._limits = limits
        self._pool = pool

    def __iter__(self) -> Iterator[Claim]:
        yield from self.stock
        yield from self.returning

    def next_claims(self) -> list[Claim]:
        """Return what the idle connections get next, as far as each backend allows it."""
        free = {backend: self._free(backend) for backend in self.stock.backends}
        return self.stock.next(self._pool.idle_count, free=free)

    def _free(self, backend: str) -> int:
        """How many more mails of a backend may start; each other backend keeps a connection to begin with."""
        if self._limits.is_resting(backend):
            return 0
        others = sum(
            other != backend and not self._limits.is_out(other) and not self._pool.busy_count(other)
            for other in self._backends
        )
        most = max(self._pool.size - others, 1)
        return min(self._limits.connections(backend), most) - self._pool.busy_count(backend)

    def startable_at(self) -> list[float]:
        """When more of what must wait now may be started (monotonic seconds), one time for each backend."""
        return [self._limits.startable_at(backend) for backend in self.stock.backends]

    def needs_look(self, *, besides: Sequence[Claim] = ()) -> bool:
        """Whether there is room for mail, or a backend that is out of use and may have come back."""
        return bool(self._limits.outs(self._backends)) or any(self.rooms(besides=besides).values())

    def rooms(self, *, besides: Sequence[Claim] = ()) -> dict[str, int]:
        """Return how much to claim for each backend, when those `besides` are about to start."""
        return {
            backend: self.stock.room(backend, connections=self._limits.connections(backend), besides=besides)
            for backend in self._backends
            if not self._limits.is_out(backend)
        }

    def overtakable(self, *, besides: Sequence[Claim] = ()) -> dict[str, int]:
        """Return, for each backend that takes mail now, the lowest priority in stock, if there is a higher one."""
        return {
            backend: priority
            for backend, priority in self.stock.lowest(besides=besides).items()
            if priority < PRIORITIES[-1] and not self._limits.is_out(backend) and not self._limits.is_resting(backend)
        }

    def rooms_above(self, above: Mapping[str, int]) -> dict[str, int]:
        """Return how much to claim for each backend of mail that is more urgent than this priority."""
        return {
            backend: self.stock.room(backend, connections=self._limits.connections(backend), above=priority)
            for backend, priority in above.items()
        }

    def remove(self, claims: Iterable[Claim]) -> None:
        """Forget claims that were started or handed back."""
        gone = list(claims)
        self.stock.remove(gone)
        self.returning = [claim for claim in self.returning if claim not in gone]

    def strand(self, shut: Collection[str]) -> None:
        """Set apart what waits for a backend that takes nothing now; the next turn hands it back."""
        outs = self._limits.outs(self.stock.backends)
        if not (shut or outs):
            return
        stranded = [c for c in self.stock if c.backend in shut or (c.backend in outs and not self._is_probing(c))]
        self.stock.remove(stranded)
        self.returning += stranded

    def _is_probing(self, claim: Claim) -> bool:
        return claim.is_probe and self._limits.of(claim.backend).is_shut
