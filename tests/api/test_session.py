"""Sessions: a number is used again exactly as long as its request is in doubt."""

from __future__ import annotations

import threading

import pytest

import mu
from tests.api.fake_core import World


def test_requests_are_numbered_from_one(replica: mu.Replica) -> None:
    """Each answered request takes one number."""
    session = replica.session()
    assert session.number == 1
    session.execute(b"+1")
    assert session.number == 2


def test_clients_differ() -> None:
    """Two sessions are two clients, never client 0, which stands for none."""
    clients = {mu.Session(lambda *_: b"", 1).client for _ in range(100)}
    assert len(clients) == 100
    assert all(0 < client < 2**64 for client in clients)


def test_a_retry_applies_once(replica: mu.Replica, world: World) -> None:
    """An answer that was lost is fetched again; the command is not applied again."""
    session = replica.session()
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        session.execute(b"+5")
    assert session.in_doubt == b"+5"
    assert session.retry() == b"5"
    assert world.applied == [b"+5"]
    assert session.in_doubt is None


def test_without_a_session_a_retry_applies_twice(replica: mu.Replica, world: World) -> None:
    """The control: a command sent again by hand is another command."""
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        replica.execute(b"+5")
    assert replica.execute(b"+5") == b"10"


def test_a_new_request_waits_for_the_one_in_doubt(replica: mu.Replica, world: World) -> None:
    """While one is in doubt, execute refuses, and changes nothing."""
    session = replica.session()
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        session.execute(b"+5")
    with pytest.raises(mu.InDoubt, match="Request 1"):
        session.execute(b"+6")
    assert session.in_doubt == b"+5"
    assert world.applied == [b"+5"]


def test_a_retry_without_doubt_is_a_mistake(replica: mu.Replica) -> None:
    """There is nothing to retry after an answer."""
    session = replica.session()
    session.execute(b"+1")
    with pytest.raises(ValueError, match="Nothing is in doubt"):
        session.retry()


@pytest.mark.parametrize(
    "error",
    [mu.NotLeader(2), mu.NoMajority("x"), mu.LogFull("x"), mu.TooLarge(2, 1), mu.Busy("x"), mu.NoMemory("x")],
)
def test_what_was_not_proposed_is_not_in_doubt(replica: mu.Replica, world: World, error: mu.MuError) -> None:
    """After an error that is certain, the number is free and the session goes on."""
    session = replica.session()
    world.raises.append(error)
    with pytest.raises(type(error)):
        session.execute(b"+1")
    assert (session.number, session.in_doubt) == (1, None)
    assert session.execute(b"+1") == b"1"


def test_a_retry_that_finds_no_leader_stays_in_doubt(replica: mu.Replica, world: World) -> None:
    """That the retry was not proposed says nothing about the first try."""
    session = replica.session()
    world.raises.extend([mu.Indeterminate("x"), mu.NotLeader(2)])
    with pytest.raises(mu.Indeterminate):
        session.execute(b"+1")
    with pytest.raises(mu.NotLeader):
        session.retry()
    assert session.in_doubt == b"+1"
    assert session.retry() == b"1"


def test_a_failed_command_is_an_answer(replica: mu.Replica) -> None:
    """CommandFailed settles a request: the number is used, nothing is in doubt."""
    session = replica.session()
    with pytest.raises(mu.CommandFailed):
        session.execute(b"what")
    assert (session.number, session.in_doubt) == (2, None)


@pytest.mark.parametrize("error", [mu.Closed("x"), KeyboardInterrupt()])
def test_an_interrupted_request_is_in_doubt(replica: mu.Replica, world: World, error: BaseException) -> None:
    """Whatever ends a call without an answer leaves it in doubt."""
    session = replica.session()
    world.raises.append(error)
    with pytest.raises(type(error)):
        session.execute(b"+1")
    assert session.in_doubt == b"+1"


def test_a_session_moves_to_another_replica(replica: mu.Replica, world: World) -> None:
    """The retry goes to the new leader under the same client and number, and applies once."""
    session = replica.session()
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        session.execute(b"+5")
    world.leader = 2
    with mu.Replica.open(mu.Cluster(), replica_id=2, state_machine=mu.Counter()) as successor:
        session.move(successor)
        assert session.retry() == b"5"
    assert world.applied == [b"+5"]


def test_of_threads_that_retry_at_once_one_is_sent() -> None:
    """Of eight threads that retry the request in doubt at once one has it sent, and the others are refused."""
    sent: list[bytes] = []
    refused = threading.Semaphore(0)
    at_once = threading.Barrier(8)

    def send(command: bytes, _timeout_ns: int, _client: int, _number: int) -> bytes:
        sent.append(command)
        if len(sent) == 1:
            raise mu.Indeterminate("The leader is gone.")
        for _ in range(7):
            assert refused.acquire(timeout=20)
        return b"done"

    session = mu.Session(send, 1_000_000_000)
    with pytest.raises(mu.Indeterminate):
        session.execute(b"+1")

    def call() -> None:
        at_once.wait()
        try:
            session.retry()
        except mu.InDoubt:
            refused.release()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent == [b"+1", b"+1"]
    assert (session.number, session.in_doubt) == (2, None)
