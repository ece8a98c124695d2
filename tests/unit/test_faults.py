"""The named points at which tests stop, kill or break a sender."""

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

import mailqueue
from mailqueue.faults import POINTS, VARIABLE, Fault, FaultError, parse
from tests.support.processes import environment, run
from tests.support.waiting import wait_until

REACH = 'from mailqueue.faults import reach; reach("claimed"); reach("settling"); reach("settling"); print("alive")'


def test_every_point_is_in_the_code_once() -> None:
    sources = Path(mailqueue.__file__).parent.rglob("*.py")

    found = Counter(
        point for path in sources for point in re.findall(r'^ +reach\("(\w+)"\)', path.read_text(), re.MULTILINE)
    )

    assert Counter(POINTS) == found


@pytest.mark.parametrize(
    "text", ["after_claim=kill", "claimed=explode", "claimed", "claimed=", "claimed=kill@often", "=kill"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_without_faults_there_are_none() -> None:
    assert {} == parse("")


def test_several_faults_are_separated_by_commas() -> None:
    assert ["claimed", "settling"] == list(parse("claimed=kill,settling=raise@3"))


def test_a_fault_strikes_once_when_its_point_is_reached_for_the_nth_time() -> None:
    fault = Fault("raise", 2)
    fault.strike("settling")
    with pytest.raises(FaultError):
        fault.strike("settling")

    fault.strike("settling")


def test_without_the_variable_the_points_do_nothing() -> None:
    assert "alive\n" == run(sys.executable, "-c", REACH, env={VARIABLE: None}).stdout


def test_a_process_is_killed_where_that_is_asked() -> None:
    ended = run(sys.executable, "-c", REACH, env={VARIABLE: "settling=kill@2"})

    assert (-signal.SIGKILL, "") == (ended.returncode, ended.stdout)


def test_a_process_is_stopped_where_that_is_asked_and_can_go_on() -> None:
    command = [sys.executable, "-c", REACH]
    with subprocess.Popen(command, env=environment({VARIABLE: "claimed=stop"}), stdout=subprocess.PIPE) as process:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)

        assert b"alive\n" == process.communicate(timeout=30)[0]
