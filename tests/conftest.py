"""What every test shares: asynchronous tests run on asyncio, and no property test fails because a machine is busy."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("watchkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("watchkeeper")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run `@pytest.mark.anyio` tests on asyncio, the loop that the product uses."""
    return "asyncio"
