"""The asyncio face: the loop never blocks, calls keep their order, close answers everybody."""

from __future__ import annotations

import asyncio

import pytest

import mu
from tests.api.fake_core import World

pytestmark = pytest.mark.asyncio


async def entered(world: World) -> None:
    assert await asyncio.to_thread(world.entered.acquire, timeout=30)


async def test_every_call_has_its_async_twin(replica: mu.Replica) -> None:
    """Replies, offsets and reads are those of the calls without a."""
    assert await replica.aexecute(b"+1") == b"1"
    assert await replica.aexecute_many([b"+1", b"+1"]) == [b"2", b"3"]
    assert await replica.apropose(b"+1") == 4
    assert await replica.apropose_many([b"+1", b"+1"]) == 6
    assert await replica.aread(lambda: 42) == 42


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


async def test_a_call_cancelled_in_the_queue_is_not_proposed(replica: mu.Replica, world: World) -> None:
    """Who gives up before its turn has done nothing."""
    world.gate.clear()
    first = asyncio.ensure_future(replica.aexecute(b"+1"))
    await entered(world)
    second = asyncio.ensure_future(replica.aexecute(b"+10"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
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
