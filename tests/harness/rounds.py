"""Rounds one at a time, where the plane goes on for ever."""

import asyncio

from control_plane.services.rounds import Rounds, T


async def once(rounds: Rounds[T]) -> int:
    """Do what is due and has room; how many there were."""
    begun = await rounds.look()
    await asyncio.gather(*begun)
    return len(begun)
