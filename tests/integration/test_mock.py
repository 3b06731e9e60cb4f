"""The main job on librdkafka's mock cluster, which takes Kafka's place where no Java can be had."""
import subprocess

import pytest

from checks import finish
from harness import TOOLS, model, wait_for

MOCK = {"kafka.session.timeout.ms": "6000", "kafka.fetch.wait.max.ms": "10"}


@pytest.fixture
def bootstrap(tmp_path):
    """A mock cluster's address."""
    port_file = tmp_path / "mock"
    process = subprocess.Popen([str(TOOLS / "mockkafka"), "--port-file", str(port_file)],
                               stdout=subprocess.DEVNULL)
    try:
        wait_for(port_file.exists, what="the mock cluster")
        yield port_file.read_text().strip()
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_the_main_job_on_the_mock_cluster(lone_world, bootstrap, tmp_path):
    world = lone_world(kafka=bootstrap, models=[model("other")], conf=MOCK)
    for i in range(40):
        (tmp_path / f"doc-{i}.txt").write_text(f"Document {i} has a few words.")
    world.start_worker()
    world.start_worker()
    plain = world.submit("--prompt", "Summarise: {document}", "--include", "doc-*", tmp_path)
    urgent = world.ask("one", "[[sim: status=503 times=1]] two", "[[sim: status=400]] three",
                       options=("--priority", "high"), model="other")
    assert world.wait_ended(plain, 60)["succeeded"] == 40
    counts = world.wait_ended(urgent, 60)
    assert (counts["succeeded"], counts["dead"]) == (2, 1)
    wait_for(lambda: len(world.records(f"{world.name}.dead")) == 1, what="the dead letter")
    finish(world)
