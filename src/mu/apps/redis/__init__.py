"""A real redis-server under the log: its writes are decided before their replies leave. docs/redis.md tells how."""

from mu.apps.redis.local import LocalRedis
from mu.apps.redis.options import FOLLOWER_READS, Address, default_addresses, parse_peers
from mu.apps.redis.server import RedisServer

__all__ = ["FOLLOWER_READS", "Address", "LocalRedis", "RedisServer", "default_addresses", "parse_peers"]
