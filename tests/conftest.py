"""What holds for all tests."""

from hypothesis import settings

# A law holds however busy the machine is; all else is as Hypothesis has it.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
