"""What the tests of the whole path share: worlds, and their logs when a test fails."""
import pytest

import harness

LOG_TAIL_BYTES = 6000


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure comes with the end of each worker's log."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for world in harness.WORLDS:
        for worker in world.workers:
            state = "alive" if worker.alive else f"exit {worker.process.returncode}"
            report.sections.append((f"{worker.log_path.name} of {world.name} ({state})",
                                    worker.log()[-LOG_TAIL_BYTES:]))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Makes worlds that end with the module: worlds(models=[...], conf={...})."""
    made = []

    def make(**how):
        made.append(harness.World(tmp_path_factory.mktemp("world"), **how))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def lone_world(tmp_path):
    """Makes worlds that end with the test."""
    made = []

    def make(**how):
        made.append(harness.World(tmp_path / f"w{len(made)}", **how))
        return made[-1]

    yield make
    for world in made:
        world.close()
