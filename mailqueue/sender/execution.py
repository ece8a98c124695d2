"""Carrying out plans: as a whole, and where that can't be done, mail by mail."""

import logging
from collections.abc import Callable

from mailqueue.queue.work import is_databases_trouble, is_locked
from mailqueue.sender.agenda import Agenda
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument, logger
from mailqueue.sender.plan import Effects, Plan
from mailqueue.sender.pool import Pool
from mailqueue.sender.turn import Turn


class Execution:
    """Runs turns, and gives what they did to `take_effect`. Raises only for the database's trouble."""

    def __init__(
        self, *, turn: Turn, pool: Pool, agenda: Agenda, take_effect: Callable[[Plan, Effects], None]
    ) -> None:
        self._turn = turn
        self._pool = pool
        self._agenda = agenda
        self._take_effect = take_effect

    def carry_out(self, plan: Plan) -> None:
        """Run a turn. When something in it can't be done, do the rest without it: one bad mail holds up no other."""
        try:
            effects = self._turn.run(plan)
        except Exception as error:
            parts = plan.parts()
            if is_databases_trouble(error) or not parts:
                raise
            instrument("turn.failed", level=logging.WARNING, error=type(error).__name__, text=first_line(error))
            for part in parts:
                self._carry_out_part(part)
        else:
            self._take_effect(plan, effects)

    def _carry_out_part(self, part: Plan) -> None:
        try:
            effects = self._turn.run(part)
        except Exception as error:
            if is_databases_trouble(error):
                raise
            if is_locked(error) or not self._give_up(part, error):
                self._put_aside(part)
        else:
            self._take_effect(part, effects)

    def _give_up(self, part: Plan, error: Exception) -> bool:
        logger.error("mail.unworkable", exc_info=error, extra={"fields": part.fields()})
        try:
            effects = self._turn.give_up(part, error)
        except Exception as second:
            if is_databases_trouble(second):
                raise
            return False
        self._take_effect(part, effects)
        return True

    def _put_aside(self, part: Plan) -> None:
        """Keep a result until its row can be worked on; hand back a mail that was not started."""
        for job, _ in part.results:
            self._pool.put_aside(job)
        unsent = [*part.starting, *part.returning]
        self._agenda.remove(unsent)
        self._turn.hand_back(unsent)
        instrument("mail.put_aside", level=logging.WARNING, **part.fields())
