"""The main job, end to end: each kind of input, each kind of output, jobs given twice.

One world with two workers serves all tests of this file; the last test stops them and looks at what
was committed.
"""
import json

import pytest

from checks import check, finish
from harness import BIN, Message, model, run, wait_for

SCHEMA = {"type": "object", "required": ["title", "pages"], "additionalProperties": False,
          "properties": {"title": {"type": "string"}, "pages": {"type": "integer"},
                         "kind": {"enum": ["letter", "invoice"]}}}


@pytest.fixture(scope="module")
def world(worlds):
    made = worlds(models=[model("other"), model("embed")])
    made.start_worker()
    made.start_worker()
    return made


@pytest.fixture
def documents(tmp_path):
    """A small tree of documents."""
    root = tmp_path / "docs"
    (root / "deep").mkdir(parents=True)
    (root / "one.txt").write_text("The first document speaks of apples.")
    (root / "two.txt").write_text("Das zweite handelt von Äpfeln, 林檎 und 🍎.\nIt has two lines.")
    (root / "deep" / "three.txt").write_text("The third lies deeper.")
    return root


# ---- kinds of input ------------------------------------------------------------------------------


def test_documents(world, documents):
    batch = world.submit("--task", "sum", "--team", "t1", "--prompt", "Summarise: {document}",
                         "--model", "m", "--max-output-tokens", "100", documents)
    assert world.wait_ended(batch) == {"accepted": 3, "succeeded": 3, "dead": 0, "cancelled": 0,
                                       "expired": 0, "pending": 0}
    results = world.results(batch)
    assert set(results) == {"one.txt", "two.txt", "deep/three.txt"}
    assert results["two.txt"]["answer"].startswith("Extract: Summarise: Das zweite handelt von Äpfeln")
    assert all(r["model_version"] == "m@1" and r["cost_nusd"] > 0 for r in results.values())
    rows = world.rows("SELECT DISTINCT app, task, team, prompt_version, url FROM result"
                      " WHERE batch_id = %s", batch)
    assert len(rows) == 1 and rows[0][:3] == ("pipe", "sum", "t1")
    template = world.value("SELECT template FROM prompt_version WHERE prompt_version = %s", rows[0][3])
    assert template == "Summarise: {document}"
    check(world)


def test_ready_requests_in_jsonl(world, tmp_path):
    path = tmp_path / "requests.jsonl"
    bodies = [{"model": "other", "messages": [{"role": "user", "content": f"Text {i} of six words here"}],
               "temperature": 0, "max_tokens": 50} for i in range(20)]
    bodies[3]["custom_id"] = "the fourth"
    del bodies[7]["model"]  # the catalogue's default serves
    path.write_text("".join(json.dumps(b) + "\n" for b in bodies))
    batch = world.submit(path)
    assert world.wait_ended(batch)["succeeded"] == 20
    results = world.results(batch)
    assert results["the fourth"]["model_version"] == "other@1"
    assert results["line-8"]["model_version"] == "m@1"
    check(world)


def test_openai_batch_file(world, tmp_path):
    path = tmp_path / "batch.jsonl"
    rows = [{"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions",
             "body": {"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}},
            {"custom_id": "text", "method": "POST", "url": "/v1/completions",
             "body": {"model": "m", "prompt": "Once upon a time", "max_tokens": 9}},
            {"custom_id": "vectors", "method": "POST", "url": "/v1/embeddings",
             "body": {"model": "embed", "input": ["a cat", "a dog"]}}]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    batch = world.submit(path)
    assert world.wait_ended(batch)["succeeded"] == 3
    results = world.results(batch)
    assert results["chat"]["answer"] == "Extract: Hello there"
    assert results["text"]["answer"] == "Extract: Once upon a time"
    assert len(json.loads(results["vectors"]["answer"])) == 2
    check(world)


def test_standard_input(world):
    lines = "".join(f"note number {i}\n" for i in range(5))
    batch = world.submit("--prompt", "Shorten: {document}", "--format", "lines", "--model", "m", "-",
                         stdin=lines)
    assert world.wait_ended(batch)["succeeded"] == 5
    assert world.results(batch)["line-3"]["answer"] == "Extract: Shorten: note number 2"
    check(world)


@pytest.mark.parametrize("lane", ["high", "normal", "low"])
def test_each_priority_goes_through_its_lane(world, documents, lane):
    before = len(world.records(world.topic(lane)))
    batch = world.submit("--prompt", "{document}", "--priority", lane, documents)
    assert world.wait_ended(batch)["succeeded"] == 3
    assert len(world.records(world.topic(lane))) == before + 3
    assert world.rows("SELECT DISTINCT code_name('priority', priority) FROM result"
                      " WHERE batch_id = %s", batch) == [(lane,)]
    check(world)


def test_wait_follows_to_the_end_and_tells_the_outcome(world, documents):
    world.submit("--prompt", "{document}", "--wait", documents)
    batch = world.submit("--prompt", "[[sim: status=400]] {document}", "--wait", documents, ok=(1,))
    assert world.counts(batch)["dead"] == 3 and world.counts(batch)["pending"] == 0
    check(world)


# ---- kinds of output -----------------------------------------------------------------------------


def test_labels(world, documents):
    batch = world.submit("--prompt", "Labels: fruit, place, other\n{document}",
                         "--output", "label:fruit,place,other", documents)
    assert world.wait_ended(batch)["succeeded"] == 3
    results = world.results(batch)
    assert {r["answer"] for r in results.values()} <= {"fruit", "place", "other"}
    assert {r["validation"] for r in results.values()} == {"passed"}
    check(world)


def test_json_of_a_schema(world, documents, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    batch = world.submit("--prompt", f"JSON schema: {json.dumps(SCHEMA)}\n{{document}}",
                         "--output", f"json:{schema}", documents)
    assert world.wait_ended(batch)["succeeded"] == 3
    for result in world.results(batch).values():
        answer = json.loads(result["answer"])
        assert set(answer) == set(SCHEMA["properties"]) and isinstance(answer["pages"], int)
        assert answer["kind"] in ("letter", "invoice") and result["validation"] == "passed"
    check(world)


# until-reask: the second request must hold the first answer; an empty one has nothing to show.
@pytest.mark.parametrize("output, bad, once", [
    ("label:fruit,place", "bad-label", "until-reask=1"),
    ("json:" + json.dumps(SCHEMA), "bad-json", "until-reask=1"),
    ("label:fruit,place", "empty", "times=1")])
def test_a_bad_answer_is_asked_for_once_more(world, output, bad, once):
    hint = "Labels: fruit, place" if output.startswith("label") else f"JSON schema: {output[5:]}"
    texts = [f"{hint}\n[[sim: answer={bad} {once}]] mended at the re-ask",
             f"{hint}\n[[sim: answer={bad}]] never mended", f"{hint}\nright at once"]
    batch = world.ask(*texts, options=("--output", output))
    assert world.wait_ended(batch)["succeeded"] == 2
    results = world.results(batch)
    assert [results[f"job-{i}"]["validation"] for i in range(3)] == ["reasked", "failed", "passed"]
    assert results["job-1"]["class"] == "bad_output"
    mended, given_up = world.calls(batch, "job-0"), world.calls(batch, "job-1")
    for calls, last in ((mended, "ok"), (given_up, "bad_output")):
        assert [c["kind"] for c in calls] == ["primary", "reask"]
        assert [c["class"] for c in calls] == ["bad_output", last]
        assert all(c["certainty"] == "exact" and c["cost_nusd"] > 0 for c in calls)
    check(world)


# ---- given twice ---------------------------------------------------------------------------------


def test_a_record_delivered_twice_runs_once(world):
    message = Message()
    values = [message.pack(f"c-{i % 10}", text=f"document {i % 10}") for i in range(30)]
    world.produce(*values[:15])
    world.produce(*values[15:], lane="high")
    world.seal(message, 10)
    assert world.wait_ended(message.batch_id)["succeeded"] == 10
    assert len(world.calls(message.batch_id)) == 10
    check(world)


def test_a_custom_id_twice_in_one_input_is_refused_by_name(world, tmp_path):
    path = tmp_path / "twice.jsonl"
    line = json.dumps({"custom_id": "same", "messages": [{"role": "user", "content": "x"}]})
    path.write_text(f"{line}\n{line}\n")
    done = run(BIN / "inferq-submit", "--app", "pipe", path, env=world.env, ok=(2,))
    assert "twice.jsonl:2" in done.stderr and "same" in done.stderr
    assert world.value("SELECT count(*) FROM result WHERE custom_id = 'same'") == 0


def test_submitting_again_does_nothing_twice(world, documents):
    how = ("--prompt", "Again: {document}", "--model", "m", documents)
    first = world.submit(*how, batch="again")
    assert world.wait_ended(first)["succeeded"] == 3
    calls = len(world.calls(first))
    assert world.submit(*how, batch="again") == first
    assert world.counts(first)["accepted"] == 3
    assert len(world.calls(first)) == calls
    check(world)


def test_records_of_an_ended_batch_change_nothing(world):
    """As after an offset reset: everything is delivered once more."""
    message = Message()
    values = [message.pack(f"c-{i}", text=f"old {i}") for i in range(5)]
    world.produce(*values)
    world.seal(message, 5)
    world.wait_ended(message.batch_id)
    before = world.rows("SELECT * FROM result WHERE batch_id = %s ORDER BY job_id", message.batch_id)

    def redelivered():
        return sum(w.metric("inferq_jobs_redelivered_total") for w in world.workers)

    count = redelivered()
    world.produce(*values)
    wait_for(lambda: redelivered() >= count + 5, what="five redelivered jobs")
    assert world.rows("SELECT * FROM result WHERE batch_id = %s ORDER BY job_id",
                      message.batch_id) == before
    assert len(world.calls(message.batch_id)) == 5
    check(world)


# ---- reports, and the end ------------------------------------------------------------------------


def test_results_command_prints_what_is_stored(world, documents):
    batch = world.submit("--prompt", "Print: {document}", documents)
    world.wait_ended(batch)
    lines = [json.loads(line) for line in world.inferq("results", str(batch)).stdout.splitlines()]
    stored = world.results(batch)
    assert {line["custom_id"] for line in lines} == set(stored)
    for line in lines:
        assert line["answer"] == stored[line["custom_id"]]["answer"]
    story = world.inferq("explain", str(batch), "one.txt").stdout
    assert "m@1" in story and "succeeded" in story


def test_at_the_end_everything_is_committed(world):
    finish(world)
    assert world.value("SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0
