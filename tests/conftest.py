"""Settings for every test: hypothesis judges behaviour here, never speed."""

from hypothesis import HealthCheck, settings

settings.register_profile("quorate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quorate")
