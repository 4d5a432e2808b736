"""The domain: types with their rules, sans-I/O protocol logic, and the ports.

No I/O, no asyncio, no logging here. Split by concept: each module holds a concept's types, its rules and its ports.
"""
