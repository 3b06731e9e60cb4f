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
# Each build's tests go in two parts, side by side (INFERQ_PART): what workers do with jobs is the second,
# and takes about as long as crashes, commands and deployment.
PART_2 = {"test_failpoints.py", "test_faults.py", "test_lanes.py", "test_endings.py", "test_stop.py",
          "test_span.py", "test_learning.py", "test_reload.py", "test_operate.py", "test_flow.py",
          "test_records.py", "test_poison.py", "test_top.py", "test_limits_fleet.py", "test_fleet.py",
          "test_fairness.py", "test_routes.py", "test_kill.py"}


def is_here(item):
    """Is it of this build's side, and of this part?"""
    name = item.path.name
    if harness.VARIANT == "release":
        side = name in ON_RELEASE
    else:
        side = name not in NOT_ON_ASAN or item.originalname in ALSO_ON_ASAN
    part = os.environ.get("INFERQ_PART")
    return side and (not part or (name in PART_2) == (part == "2"))


def pytest_collection_modifyitems(config, items):
    if os.environ.get("INFERQ_SPREAD") != "1":
        return
    config.hook.pytest_deselected(items=[item for item in items if not is_here(item)])
    items[:] = [item for item in items if is_here(item)]


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
