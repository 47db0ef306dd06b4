"""Settings of the whole test run."""

from hypothesis import settings

# Two busy cores would break any limit on the time of one example.
settings.register_profile("arcmix", deadline=None)
settings.load_profile("arcmix")
