"""The asyncio face: the loop never blocks, calls keep their order, close answers everybody."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mu
from mu.session import AGAIN
from tests.api.fake_core import World

pytestmark = pytest.mark.asyncio


async def entered(world: World) -> None:
    assert await asyncio.to_thread(world.entered.acquire, timeout=30)


async def cancelled_before_its_turn(call: Coroutine[Any, Any, bytes]) -> None:
    """Begins a call that has to wait for another one, and gives it up."""
    waiting = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_every_call_has_its_async_twin(replica: mu.Replica) -> None:
    """Replies, offsets and reads are those of the calls without a."""
    assert await replica.aexecute(b"+1") == b"1"
    assert await replica.aexecute_many([b"+1", b"+1"]) == [b"2", b"3"]
    assert await replica.apropose(b"+1") == 4
    assert await replica.apropose_many([b"+1", b"+1"]) == 6
    assert await replica.aread(lambda: 42) == 42


async def test_a_read_that_raises_stop_iteration_is_answered(replica: mu.Replica) -> None:
    """No future holds a StopIteration: the call raises a RuntimeError that tells of it."""
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await asyncio.wait_for(replica.aread(lambda: next(iter([]))), 30)
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_the_loop_goes_on_while_a_call_waits(replica: mu.Replica, world: World) -> None:
    """Other coroutines run while a command is being decided."""
    world.gate.clear()
    call = asyncio.ensure_future(replica.aexecute(b"+1"))
    await entered(world)
    assert not call.done()
    world.gate.set()
    assert await call == b"1"


async def test_calls_take_effect_in_the_order_made(replica: mu.Replica, world: World) -> None:
    """A hundred calls at once are applied first come, first served."""
    commands = [b"%d" % number for number in range(100)]
    await asyncio.gather(*(replica.aexecute(command) for command in commands))
    assert world.applied == commands


async def test_errors_arrive_at_the_one_who_called(replica: mu.Replica) -> None:
    """One command's failure is not its neighbour's."""
    failed, fine = await asyncio.gather(replica.aexecute(b"x"), replica.aexecute(b"+1"), return_exceptions=True)
    assert isinstance(failed, mu.CommandFailed)
    assert fine == b"1"


async def test_first_calls_of_several_threads_share_a_worker(
    replica: mu.Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many begin at once, their calls stand in one queue."""
    both, workers = threading.Barrier(2), set[int]()

    def make(**options: Any) -> ThreadPoolExecutor:
        with contextlib.suppress(threading.BrokenBarrierError):  # nobody else gets as far
            both.wait(0.2)
        return ThreadPoolExecutor(**options)

    async def call() -> None:
        workers.add(await replica.aread(threading.get_ident))

    monkeypatch.setattr("mu.replica.ThreadPoolExecutor", make)
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, call()) for _ in range(2)))
    assert (len(workers), both.broken) == (1, True)


async def test_a_call_cancelled_in_the_queue_is_not_proposed(replica: mu.Replica, world: World) -> None:
    """Who gives up before its turn has done nothing."""
    world.gate.clear()
    first = asyncio.ensure_future(replica.aexecute(b"+1"))
    await entered(world)
    await cancelled_before_its_turn(replica.aexecute(b"+10"))
    world.gate.set()
    await first
    assert await replica.aexecute(b"+1") == b"2"


async def test_close_answers_those_who_wait(replica: mu.Replica, world: World) -> None:
    """Calls under way and calls in the queue end with Closed, none hangs and none is cancelled."""
    world.gate.clear()
    calls = [asyncio.ensure_future(replica.aexecute(b"+1")) for _ in range(3)]
    await entered(world)
    await asyncio.to_thread(replica.close)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [mu.Closed] * 3


async def test_a_closed_replica_says_so(replica: mu.Replica) -> None:
    """A call after close raises Closed."""
    replica.close()
    with pytest.raises(mu.Closed):
        await replica.aexecute(b"+1")


async def test_a_session_has_async_twins(replica: mu.Replica, world: World) -> None:
    """A lost answer is fetched again by `aretry`; the command is not applied again."""
    session = replica.session()
    assert await session.aexecute(b"+1") == b"1"
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        await session.aexecute(b"+5")
    assert (session.number, session.in_doubt) == (2, b"+5")
    assert await session.aretry() == b"6"
    assert (session.number, session.in_doubt) == (3, None)
    assert world.applied == [b"+1", b"+5"]


async def test_what_a_session_did_not_propose_is_not_in_doubt(replica: mu.Replica, world: World) -> None:
    """After an error that is certain the number is free; after a failed command it is used."""
    session = replica.session()
    world.raises.append(mu.NoMajority("x"))
    with pytest.raises(mu.NoMajority):
        await session.aexecute(b"+1")
    assert (session.number, session.in_doubt) == (1, None)
    with pytest.raises(mu.CommandFailed):
        await session.aexecute(b"what")
    assert (session.number, session.in_doubt) == (2, None)


async def test_a_session_takes_one_call_at_a_time(replica: mu.Replica, world: World) -> None:
    """While one is under way every other call raises InDoubt, sends nothing and settles nothing."""
    session = replica.session()
    world.gate.clear()
    first = asyncio.ensure_future(session.aexecute(b"+1"))
    await entered(world)
    for other in (session.aexecute(b"+2"), session.aretry()):
        with pytest.raises(mu.InDoubt, match="Request 1 of this session is under way"):
            await other
    with pytest.raises(mu.InDoubt):
        session.execute(b"+2")
    with pytest.raises(mu.InDoubt):
        session.retry()
    world.gate.set()
    assert await first == b"1"
    assert (session.number, session.in_doubt) == (2, None)
    assert world.applied == [b"+1"]


async def test_a_session_cancelled_in_the_queue_is_in_doubt(replica: mu.Replica, world: World) -> None:
    """A request that is cancelled before its turn is sent by `aretry` only."""
    session = replica.session()
    world.gate.clear()
    first = asyncio.ensure_future(replica.aexecute(b"+1"))
    await entered(world)
    await cancelled_before_its_turn(session.aexecute(b"+10"))
    assert session.in_doubt == b"+10"
    world.gate.set()
    assert await first == b"1"
    assert await replica.aexecute(b"+1") == b"2"
    assert await session.aretry() == b"12"
    assert world.applied == [b"+1", b"+1", b"+10"]


@pytest.mark.parametrize("with_a", [True, False], ids=["aretry", "retry"])
async def test_a_session_cancelled_on_its_way_is_in_doubt(replica: mu.Replica, world: World, with_a: bool) -> None:
    """A request that is cancelled while it is decided stays in doubt, and the retry has its reply."""
    session = replica.session()
    world.gate.clear()
    call = asyncio.ensure_future(session.aexecute(b"+5"))
    await entered(world)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    world.gate.set()
    assert (session.number, session.in_doubt) == (1, b"+5")
    assert (await session.aretry() if with_a else session.retry()) == b"5"
    assert (session.number, session.in_doubt) == (2, None)
    assert world.applied == [b"+5"]


async def test_a_cancelled_call_sends_nothing_later() -> None:
    """A thread that comes to a call whose coroutine was cancelled does not send its request."""
    sent: list[int] = []
    calls: list[Callable[[], bytes]] = []

    def send(number: int) -> bytes:
        sent.append(number)
        return b"done"

    def later(call: Callable[[], bytes]) -> asyncio.Future[bytes]:
        calls.append(call)
        return asyncio.get_running_loop().create_future()

    session = mu.Session(lambda *request: send(request[3]), 1, later=later)
    cancelled = asyncio.ensure_future(session.aexecute(b"+1"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(mu.InDoubt, match="was cancelled"):
        calls[0]()
    assert sent == []
    assert session.in_doubt == b"+1"


async def test_a_retry_waits_for_the_cancelled_call() -> None:
    """What a cancelled coroutine was sending has ended before its retry is sent, which says that it is one."""
    first_sent, second_came, end_first = threading.Event(), threading.Event(), threading.Event()
    under_way: list[int] = []
    seen: list[list[int]] = []

    def execute(_command: bytes, _timeout_ns: int, _client: int, number: int) -> bytes:
        under_way.append(number)
        seen.append([*under_way])
        if number == 1:
            first_sent.set()
            assert end_first.wait(30)
        under_way.remove(number)
        return b"done"

    async def later(call: Callable[[], bytes]) -> bytes:
        def announced() -> bytes:
            if first_sent.is_set():
                second_came.set()
            return call()

        return await asyncio.to_thread(announced)

    session = mu.Session(execute, 1, later=later)
    cancelled = asyncio.ensure_future(session.aexecute(b"+1"))
    assert await asyncio.to_thread(first_sent.wait, 30)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    retry = asyncio.ensure_future(session.aretry())
    assert await asyncio.to_thread(second_came.wait, 30)
    end_first.set()
    assert await retry == b"done"
    assert seen == [[1], [1 | AGAIN]]


async def test_a_session_that_moved_is_awaited_there(replica: mu.Replica, world: World) -> None:
    """After `move` the retry goes through the other replica's thread, and applies once."""
    session = replica.session()
    world.lost_answers = 1
    with pytest.raises(mu.Indeterminate):
        await session.aexecute(b"+5")
    world.leader = 2
    with mu.Replica.open(mu.Cluster(), replica_id=2, state_machine=mu.Counter()) as successor:
        replica.close()
        session.move(successor)
        assert await session.aretry() == b"5"
    assert world.applied == [b"+5"]


async def test_a_session_of_a_closed_replica_says_so(replica: mu.Replica) -> None:
    """After close an awaited request ends with Closed, and is in doubt as one that is not awaited."""
    session = replica.session()
    replica.close()
    with pytest.raises(mu.Closed):
        await session.aexecute(b"+1")
    assert session.in_doubt == b"+1"
