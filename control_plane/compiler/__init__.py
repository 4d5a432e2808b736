"""What a tenant declared, in; the parts of its snapshot, or everything wrong with it, out.

Pure: no I/O, no clock, no chance.
Read `compile.py` first.
"""
