from hypothesis import settings

# A busy machine is no bug: time is bounded by the suite's own timeout.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
