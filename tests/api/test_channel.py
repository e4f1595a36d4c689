"""The channel between a parent and a replica's process: every request is answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import mu
from mu.testing.channel import Frames, Requests, pack_answer, portable, unpack_request


@pytest.fixture
def ends() -> Iterator[tuple[Requests, Frames]]:
    ours, theirs = socket.socketpair()
    requests, frames = Requests(ours, "replica 1"), Frames(theirs)
    yield requests, frames
    frames.close()
    requests.close()


def test_answers_find_their_requests(ends: tuple[Requests, Frames]) -> None:
    """Several requests are in flight, and may be answered in any order."""
    requests, frames = ends
    first, second = requests.ask("a", 1), requests.ask("b", 2)
    (one, request), (two, _) = frames.receive(), frames.receive()
    assert unpack_request(request) == ("a", (1,))
    frames.send(two, pack_answer("b", True, "two"))
    frames.send(one, pack_answer("a", True, "one"))
    assert (first.result(30), second.result(30)) == ("one", "two")


def test_errors_are_raised_as_themselves(ends: tuple[Requests, Frames]) -> None:
    """An error of the other side has the same class and attributes here."""
    requests, frames = ends
    answer = requests.ask("execute")
    number, _ = frames.receive()
    frames.send(number, pack_answer("execute", False, mu.NotLeader(3)))
    with pytest.raises(mu.NotLeader) as caught:
        answer.result(30)
    assert caught.value.leader == 3


def test_large_frames_arrive_whole(ends: tuple[Requests, Frames]) -> None:
    """A frame may be larger than any buffer on its way."""
    requests, frames = ends
    answer = requests.ask("run")
    number, _ = frames.receive()
    frames.send(number, pack_answer("run", True, bytes(10_000_000)))
    assert len(answer.result(30)) == 10_000_000


def test_the_end_answers_what_waits(ends: tuple[Requests, Frames]) -> None:
    """When the other process ends, its unanswered requests are indeterminate, and later ones are refused."""
    requests, frames = ends
    answer = requests.ask("execute")
    frames.close()
    with pytest.raises(mu.Indeterminate, match="replica 1 ended"):
        answer.result(30)
    with pytest.raises(mu.ReplicaDown):
        requests.ask("execute")


class StubbornError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_error_that_cannot_travel_is_told() -> None:
    """An application's odd exception arrives as text."""
    told = portable(StubbornError(1, 2))
    assert type(told) is mu.MuError
    assert str(told) == "StubbornError: 1 and 2"


def test_an_error_that_can_travel_stays() -> None:
    """A good exception is not touched."""
    error = mu.TooLarge(2, 1)
    assert portable(error) is error


def test_an_answer_that_cannot_be_read_is_told_to_its_asker(ends: tuple[Requests, Frames]) -> None:
    """Only the request that it answers fails; the next answer is heard."""
    requests, frames = ends
    first, second = requests.ask("run"), requests.ask("status")
    (one, _), (two, _) = frames.receive(), frames.receive()
    frames.send(one, b"no pickle")
    frames.send(two, pack_answer("status", True, "fine"))
    with pytest.raises(mu.MuError, match="replica 1 has done it, but its answer cannot be read here"):
        first.result(30)
    assert second.result(30) == "fine"


def test_what_ends_a_process_ends_no_other() -> None:
    """SystemExit there is an error here, and no end."""
    assert str(portable(SystemExit("over"))) == "SystemExit: over"
