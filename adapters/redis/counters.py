"""Buckets in Redis (or Valkey), shared by all gateways: the arithmetic of `core.limits`, run there on its clock."""

import asyncio
from collections.abc import Callable
from time import monotonic

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.bound import Bound
from core.limits import MARKS, Bucket, CountersAway, Grant

TIMEOUT_S = 0.1
"""Longest a caller waits for Redis, connecting included."""
MAX_CONNECTIONS = 8
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""After a failure nobody asks Redis for so long; doubled each time up to the longest."""

_REFILL = """
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000
local rate, burst, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 't', 'a')
local tokens, at = tonumber(known[1]), tonumber(known[2])
if tokens and at then
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
  now = math.max(now, at)
end
"""
_STORE = """
local function store(left)
  redis.call('HSET', KEYS[1], 't', string.format('%.9f', left), 'a', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil((burst - left) / rate * 1000) + 1000)
end
"""
_TAKE = f"""{_REFILL}{_STORE}
if not tokens then tokens = burst end
local granted = math.min(n, math.floor(tokens + 0.000001))
local left = math.max(0, tokens - granted)
store(left)
local wait = 0
if granted < n then wait = (1 - math.min(left, 1)) / rate end
return {{granted, string.format('%.6f', wait)}}
"""
# A bucket that is not there is full: nothing to give back to.
_GIVE_BACK = f"""{_REFILL}{_STORE}
if tokens then store(math.min(burst, tokens + n)) end
return 0
"""


# A window: `m` holds its marks as `at:tokens;`, the oldest first; the arithmetic of `core.limits`, by the same names.
_MARKS = f"""
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000
local burst, window, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at, tokens, used = {{}}, {{}}, 0
for mark, count in string.gmatch(redis.call('HGET', KEYS[1], 'm') or '', '([%d.]+):(%d+);') do
  mark, count = tonumber(mark), tonumber(count)
  now = math.max(now, mark)
  at[#at + 1], tokens[#tokens + 1] = mark, count
end
while at[1] and at[1] + window <= now do
  table.remove(at, 1)
  table.remove(tokens, 1)
end
for _, count in ipairs(tokens) do used = used + count end
local function part(moment) return math.floor(moment * {MARKS} / window) end
local function store()
  if #at == 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  local marks = {{}}
  for i = 1, #at do marks[i] = string.format('%.6f:%.0f;', at[i], tokens[i]) end
  redis.call('HSET', KEYS[1], 'm', table.concat(marks))
  redis.call('PEXPIRE', KEYS[1], math.ceil((at[#at] + window - now) * 1000) + 1000)
end
"""
_TAKE_IN_WINDOW = f"""{_MARKS}
local granted = math.max(0, math.min(n, burst - used))
if granted > 0 then
  if at[1] and part(at[#at]) == part(now) then
    at[#at], tokens[#at] = now, tokens[#at] + granted
  else
    at[#at + 1], tokens[#tokens + 1] = now, granted
  end
  store()
end
local wait = 0
if granted < n then
  local too_many = used + granted - (burst - 1)
  for i = 1, #at do
    too_many = too_many - tokens[i]
    if too_many <= 0 then
      wait = at[i] + window - now
      break
    end
  end
  wait = math.max(0.000001, wait)
end
return {{granted, string.format('%.6f', wait)}}
"""
_GIVE_BACK_IN_WINDOW = f"""{_MARKS}
while at[1] and n > 0 do
  local back = math.min(n, tokens[1])
  n, tokens[1] = n - back, tokens[1] - back
  if tokens[1] > 0 then break end
  table.remove(at, 1)
  table.remove(tokens, 1)
end
store()
return 0
"""


class RedisCounters:
    """Implements `core.limits.Counters`. Connects when first used and again by itself."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "toolgate:",
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`url`: redis://, rediss:// or unix://. Raises ValueError for another."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._pool = pool
        self._redis = Redis.from_pool(pool)
        self._take = self._redis.register_script(_TAKE)
        self._give_back = self._redis.register_script(_GIVE_BACK)
        self._take_in_window = self._redis.register_script(_TAKE_IN_WINDOW)
        self._give_back_in_window = self._redis.register_script(_GIVE_BACK_IN_WINDOW)
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._clock = clock
        self._pause_s = 0.0
        self._quiet_until_s = 0.0
        self._full = 0
        self.failures = 0
        """Takes and returns that Redis did not answer."""

    @property
    def bound(self) -> Bound:
        in_use = len(self._pool._in_use_connections)  # noqa: SLF001 - the pool offers no other look
        return Bound(in_use, MAX_CONNECTIONS, self._full)

    @property
    def is_away(self) -> bool:
        """Whether it failed a moment ago and is not asked now."""
        return self._clock() < self._quiet_until_s

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        if self._clock() < self._quiet_until_s:
            raise CountersAway("Redis did not answer a moment ago")
        self._look_for_room()
        try:
            async with asyncio.timeout(self._timeout_s):
                take = self._take_in_window if bucket.window_s else self._take
                tokens, wait = await take(keys=[self._prefix + key], args=_args(bucket, want))
        except (RedisError, OSError, TimeoutError) as failure:
            self._pause()
            raise CountersAway(f"Redis: {type(failure).__name__}") from failure
        self._pause_s = 0.0
        return Grant(int(tokens), float(wait))

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        if self._clock() < self._quiet_until_s:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                give_back = self._give_back_in_window if bucket.window_s else self._give_back
                await give_back(keys=[self._prefix + key], args=_args(bucket, tokens))
        except (RedisError, OSError, TimeoutError):
            self._pause()

    async def aclose(self) -> None:
        """Close the connections; using the counters again opens new ones."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _look_for_room(self) -> None:
        if len(self._pool._in_use_connections) >= MAX_CONNECTIONS:  # noqa: SLF001 - as above
            self._full += 1

    def _pause(self) -> None:
        self.failures += 1
        now = self._clock()
        if now >= self._quiet_until_s:
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
            self._quiet_until_s = now + self._pause_s


def _args(bucket: Bucket, tokens: int) -> list[float | int]:
    return [bucket.burst, bucket.window_s, tokens] if bucket.window_s else [bucket.rate_per_s, bucket.burst, tokens]
