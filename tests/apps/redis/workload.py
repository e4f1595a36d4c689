"""Writes of every kind, with randomness where Redis has it: what followers must end up with is what the leader has."""

from __future__ import annotations

import random
from typing import Any, Final

# Settings of servers whose tests claim nothing of who leads: a machine that stands still for a moment unseats a leader,
# rightly. In ns.
PATIENT: Final = {"stale_limit": 10**9, "starved_limit": 10**9, "stuck_limit": 10**9}

SCRIPT: Final = """
redis.call('SET', KEYS[1], redis.call('TIME')[2])
redis.call('SADD', KEYS[2], unpack(ARGV))
return redis.call('SPOP', KEYS[2])
"""
BUSY_SOON: Final = ("--busy-reply-threshold", "10")  # milliseconds, before a long script has others looked at
# A second and a half, in which redis looks at other clients now and then.
LONG: Final = """
local function now() local time = redis.call('TIME') return time[1] * 1000000 + time[2] end
local ending = now() + 1500000
while now() < ending do end
return 'long'
"""
FUNCTION: Final = """#!lua name=counting
redis.register_function('count', function(keys, args) return redis.call('INCRBYFLOAT', keys[1], args[1]) end)
"""


def every_type(client: Any, seed: int, rounds: int = 100) -> None:
    """Some writes to every data type, in several databases."""
    chosen = random.Random(seed)
    client.function_load(FUNCTION, replace=True)
    for i in range(rounds):
        client.execute_command("SELECT", chosen.choice((0, 0, 1, 7)))
        key = chosen.randrange(20)
        strings(client, key, i)
        collections(client, key, i)
        program(client, key, i)
    client.execute_command("SELECT", 0)


def strings(client: Any, key: int, i: int) -> None:
    """Strings, bits, counters, times to live."""
    client.set(f"s{key}", i, ex=1000 if i % 2 else None)
    client.append(f"s{key}", "x" * (i % 7))
    client.setrange(f"r{key}", i, "abc")
    client.setbit(f"b{key}", i, 1)
    client.incrby(f"n{key}", i)
    client.incrbyfloat(f"f{key}", 0.1)
    client.getex(f"s{key}", px=100_000)
    client.persist(f"s{key}")
    client.set(f"short{key}", 1, px=1 + i % 5)  # expires while this runs
    client.execute_command("BITFIELD", f"b{key}", "INCRBY", "u5", 3, 1)
    client.pfadd(f"h{key}", i)
    client.copy(f"s{key}", f"copy{key}", replace=True)


def collections(client: Any, key: int, i: int) -> None:
    """Lists, sets, sorted sets, hashes, streams, places."""
    client.rpush(f"l{key}", i, i + 1)
    client.lpop(f"l{key}")
    client.blpop(f"l{key}", 1)
    client.sadd(f"set{key}", *range(i, i + 5))
    client.spop(f"set{key}", 2)
    client.zadd(f"z{key}", {f"m{i}": i / 3})
    client.zincrby(f"z{key}", 0.7, f"m{i}")
    client.zpopmin(f"z{key}") if i % 5 == 0 else None
    client.hset(f"hash{key}", mapping={f"f{i}": i})
    client.hincrbyfloat(f"hash{key}", "f", 0.3)
    client.xadd(f"x{key}", {"i": i}, maxlen=50)
    client.xtrim(f"x{key}", maxlen=30)
    client.geoadd(f"g{key}", (13.0 + i / 100, 52.0, f"p{i}"))
    client.sunionstore(f"set{key}", [f"set{key}", f"set{(key + 1) % 20}"])


def program(client: Any, key: int, i: int) -> None:
    """Transactions, scripts, functions, consumer groups."""
    with client.pipeline(transaction=True) as transaction:
        transaction.incr(f"t{key}").rpush(f"tl{key}", i).expire(f"t{key}", 1000)
        transaction.execute()
    client.eval(SCRIPT, 2, f"time{key}", f"lua{key}", *range(i, i + 3))
    client.fcall("count", 1, f"count{key}", "0.5")
    if not client.exists(f"x{key}g"):
        client.xgroup_create(f"x{key}g", "group", mkstream=True)
    client.xadd(f"x{key}g", {"i": i})
    client.xreadgroup("group", "one", {f"x{key}g": ">"}, count=1)


def packed(*words: str) -> bytes:
    """A command as it is sent to a server."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(each), each.encode()) for each in words)])
