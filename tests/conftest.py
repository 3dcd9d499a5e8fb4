"""Property tests have no deadline: machines are shared, and what must be fast is timed on its own."""

from hypothesis import settings

settings.register_profile("undisturbed", deadline=None)
settings.load_profile("undisturbed")
