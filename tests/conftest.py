"""What holds for every test."""

from hypothesis import HealthCheck, settings

# The same examples on every machine, and no failure because a machine is busy. `--hypothesis-profile=thorough`
# searches longer, for a change of the graph or of the network.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.register_profile(
    "thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("reproducible")
