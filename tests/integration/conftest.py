"""What the tests of the whole path share: worlds, and their logs when a test fails."""
import os
import signal

import pytest

import harness

LOG_TAIL_BYTES = 6000

# A shell's background job ignores SIGINT, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# With INFERQ_SPREAD=1 (make test) the suite is spread over its two builds: the sanitizers watch all of
# it but what asks only Postgres, kills or measures; the optimised build, whose timing is another, goes
# through the crashes and kills, the fleet's limits, routes, the stand-in for Kafka, the plans, and all
# commands with wrong things. Both sides take about as long.
ON_RELEASE = {"test_kill.py", "test_crash_kafka.py", "test_crash_limits.py", "test_crash_postgres.py",
              "test_crash_process.py", "test_plans.py", "test_mock.py", "test_bench.py",
              "test_secrets.py", "test_shell.py", "test_routes.py", "test_admin_doctor.py",
              "test_admin_wrong.py", "test_limits_fleet.py", "test_fleet.py", "test_fairness.py"}
NOT_ON_ASAN = ON_RELEASE - {"test_crash_process.py"}
# Of those, what goes through most commands, and through what doctor reads itself, in seconds.
ALSO_ON_ASAN = {"test_a_database_without_tables", "test_a_login_without_rights",
                "test_a_reader_who_wants_to_act", "test_no_standard_streams_at_all",
                "test_the_catalogue_file", "test_the_workers_ring", "test_the_signing_key"}


def pytest_collection_modifyitems(config, items):
    if os.environ.get("INFERQ_SPREAD") != "1":
        return
    optimised = harness.VARIANT == "release"
    elsewhere = [item for item in items if (item.path.name not in ON_RELEASE if optimised
                                            else item.path.name in NOT_ON_ASAN
                                            and item.originalname not in ALSO_ON_ASAN)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure comes with the end of each worker's log."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for world in harness.WORLDS:
        world.broken = True
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
