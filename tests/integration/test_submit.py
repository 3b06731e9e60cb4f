"""inferq-submit against real Kafka and real Postgres: what it sends, what it refuses, and what is
left when it is stopped in the middle.

Happy path: a scratch database and topics of its own (a prefix with the process id), made once by
`inferq migrate` and `inferq topics`. Each test submits under an app of its own and reads the
records back from Kafka with librdkafka, decodes them with Python's msgpack, and recomputes ids and
signatures by the rules of the message format. No worker runs: the end of a batch is written by SQL.
"""
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import uuid

import msgpack
import pytest

import kafka_read
import memory
from memory import wait_with_peak_kb
from submit_fixture import (BIN, KEY, MIB, NORMAL, PREFIX, SANITIZED, Submit, chat, chat_lines,
                            drop_database, id_of, scratch_database, unread, verified, wait_until)


@pytest.fixture(scope="module")
def database():
    name = f"inferq_submit_{os.getpid()}"
    conn = scratch_database(name)
    env = {**os.environ, "PGDATABASE": name, "INFERQ_PREFIX": PREFIX}
    for words in (["migrate"], ["topics", "--partitions", "3"]):
        done = subprocess.run([str(BIN / "inferq"), *words], env=env, capture_output=True,
                              timeout=120, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done
    yield name
    drop_database(conn, name)


@pytest.fixture
def submit(database, tmp_path, request):
    return Submit(database, request.node.name, tmp_path)


# ---- kinds of input ----

def test_documents(submit):
    """A directory: one job a file, named by its path, whatever UTF-8 it holds, NUL included."""
    texts = {"a.txt": 'plain "text"\n', "sub/ünï.txt": "é 語 😀 \u2028", "sub/nul": "a\0b\x01\x7f\\",
             "z": "{document} is only text here"}
    for name, text in texts.items():
        submit.write(f"docs/{name}", text)
    submit.write("docs/.hidden", "not taken")
    template = "Classify {this}:\n{document}\n"
    batch = submit.ok("--prompt", template, "--model", "small", "--max-output-tokens", "7", "docs",
                      "--task", "t1", "--team", "blue")
    jobs = submit.jobs()
    assert set(jobs) == set(texts)
    version = hashlib.sha256(template.encode()).hexdigest()
    for name, job in jobs.items():
        assert job["batch_id"] == batch.bytes
        assert (job["task"], job["team"], job["priority"]) == ("t1", "blue", "normal")
        assert job["url"] == "/v1/chat/completions" and job["prompt_version"] == version
        wanted = template.replace("{document}", texts[name])
        assert json.loads(job["body"]) == {
            "model": "small", "max_tokens": 7, "messages": [{"role": "user", "content": wanted}]}
    row = submit.row()
    assert (row[0], row[2], row[3]) == (str(batch), 4, True)
    stored = submit.sql("SELECT template FROM prompt_version WHERE prompt_version = %s", version)
    assert stored == [(template,)]


def test_files_and_prompt_file(submit):
    """Files of one name in several directories keep apart; the prompt's bytes are the file's."""
    submit.write("p.txt", "Sum up: {document}\n")
    for name in ("pkg1/copyright", "pkg2/copyright"):
        submit.write(name, name)
    submit.ok("--prompt-file", "p.txt", "pkg1/copyright", "pkg2/copyright", "--url",
              "/v1/completions")
    jobs = submit.jobs()
    assert {n: json.loads(j["body"]) for n, j in jobs.items()} == {
        n: {"prompt": f"Sum up: {n}\n"} for n in ("pkg1/copyright", "pkg2/copyright")}


def test_jsonl_bodies_are_kept(submit):
    """Ready bodies travel byte for byte; a custom_id of their own is used and taken out."""
    lines = ['{"model": "m",  "messages":[ {"role":"user","content":"\\u00e9 é"} ], "x":1.50}',
             "", '{"custom_id":"mine","messages":[1]}', '  {"messages":[2]}\t\r']
    submit.write("r.jsonl", "\ufeff" + "\n".join(lines))
    submit.ok("r.jsonl")
    bodies = {name: job["body"].decode() for name, job in submit.jobs().items()}
    assert bodies == {"line-1": lines[0], "mine": '{"messages":[1]}',
                      "line-4": '  {"messages":[2]}\t'}


def test_openai_lines(submit):
    lines = [{"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
              "body": {"model": "m", "messages": [{"role": "user", "content": "q"}]}},
             {"custom_id": "r\n2", "method": "POST", "url": "/v1/embeddings",
              "body": {"input": ["a", "b"]}}]
    submit.write("o.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    submit.ok("--model", "fallback", "--output", "text", "o.jsonl")
    jobs = submit.jobs()
    assert jobs["r1"]["url"] == "/v1/chat/completions"
    assert json.loads(jobs["r1"]["body"]) == lines[0]["body"]
    assert jobs["r\n2"]["url"] == "/v1/embeddings"
    assert json.loads(jobs["r\n2"]["body"]) == {"model": "fallback", "input": ["a", "b"]}


def test_standard_input(submit):
    submit.refused("needs a --batch", "-", data=chat_lines(3))
    batch = submit.ok("--batch", "piped", "-", data=chat_lines(3))
    assert set(submit.jobs()) == {"line-1", "line-2", "line-3"}
    assert submit.ok("--batch", "piped", "-", data=chat_lines(3)) == batch
    assert len(submit.records()) == 3, "nothing was sent again"
    submit.refused("another input", "--batch", "piped", "-", data=chat_lines(4))
    assert len(submit.records()) == 3


def test_standard_input_as_documents(submit):
    submit.ok("--batch", "one", "--prompt", "{document}", "-", data="the whole\nof it\n")
    submit.ok("--batch", "lines", "--prompt", "<{document}>", "--format", "lines", "-",
              data="first\n\nthird")
    told = {n: json.loads(j["body"])["messages"][0]["content"] for n, j in submit.jobs().items()}
    assert told == {"stdin": "the whole\nof it\n", "line-1": "<first>", "line-3": "<third>"}


def test_priorities_go_to_topics(submit):
    for priority in ("high", "normal", "low"):
        submit.ok("--batch", priority, "--priority", priority, "-", data=chat_lines(1))
        jobs = submit.jobs(f"{PREFIX}.jobs.{priority}")
        assert {(j["batch"], j["priority"]) for j in jobs.values()} == {(priority, priority)}


def test_outputs_limits_deadline(submit):
    schema = '{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}'
    submit.write("s.json", schema)
    submit.ok("--batch", "1", "--output", "label: yes,no ", "-", data=chat_lines(1))
    submit.ok("--batch", "2", "--output", "json:s.json", "--max-attempts", "3", "--max-cost",
              "0.25", "--context-version", "docs@7", "-", data=chat_lines(1))
    before = time.time() * 1000
    submit.ok("--batch", "3", "--output", f"json:{schema}", "--deadline", "+2h", "-",
              data=chat_lines(1))
    jobs = {msgpack.unpackb(r.value)["batch"]: verified(r, submit.app) for r in submit.records()}
    assert jobs["1"]["output"] == {"kind": "label", "labels": ["yes", "no"]}
    assert jobs["2"]["output"] == jobs["3"]["output"] == {"kind": "json", "schema": schema}
    assert (jobs["2"]["max_attempts"], jobs["2"]["max_cost"]) == (3, 250000000)
    assert jobs["2"]["context_version"] == "docs@7"
    assert abs(jobs["3"]["deadline"] - before - 7200000) < 60000
    stored = submit.sql("SELECT (extract(epoch FROM deadline_at) * 1000)::bigint FROM batch "
                        "WHERE app = %s AND name = '3'", submit.app)
    assert stored == [(jobs["3"]["deadline"],)]


# ---- bad records ----

def test_bad_line_stops_before_anything_is_sent(submit):
    lines = chat_lines(200).splitlines()
    lines[149] = '{"messages":[1],"stream":true}'
    path = submit.write("r.jsonl", "\n".join(lines))
    said = submit.refused(f"{path}:150: \"stream\" is true", path)
    assert "(--on-error skip names such records and leaves them out)" in said
    assert submit.records() == []
    assert submit.sql("SELECT count(*) FROM batch WHERE app = %s", submit.app) == [(0,)]


def test_bad_records_are_left_out(submit):
    submit.write("docs/good", "text")
    submit.write("docs/empty", "")
    submit.write("docs/latin1", "caf\xe9".encode("latin-1"))
    done = submit.run("--prompt", "{document}", "--on-error", "skip", "docs")
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert said == ["inferq-submit: docs/empty: is empty",
                    "inferq-submit: docs/latin1: not UTF-8 at byte 3 (0xe9): convert it first, for "
                    "instance with iconv",
                    "inferq-submit: 2 records were left out"]
    assert set(submit.jobs()) == {"good"}
    assert submit.row()[2:4] == (1, True)
    again = submit.run("--prompt", "{document}", "--on-error", "skip", "docs")
    assert (again.returncode, again.stdout) == (1, done.stdout)
    assert len(submit.records()) == 1


def test_repeated_custom_ids(submit):
    line = '{"custom_id":"same","body":{"messages":[1]}}\n'
    submit.write("o.jsonl", line + line)
    submit.refused('o.jsonl:2: custom_id "same" stands twice', "o.jsonl")
    done = submit.run("--on-error", "skip", "o.jsonl")
    assert done.returncode == 1
    assert submit.row()[2] == 1 and len(submit.records()) == 1


def test_pipe_with_a_bad_line_says_what_was_sent(submit):
    data = chat_lines(5) + "broken\n"
    message = submit.refused("standard input:6: byte 0", "--batch", "b", "-", data=data)
    assert "5 jobs of batch b were sent, and it is not sealed" in message
    assert submit.row()[2:4] == (None, False)
    batch = submit.ok("--batch", "b", "-", data=chat_lines(6))
    assert submit.row()[0] == str(batch) and submit.row()[2:4] == (6, True)
    assert len(submit.jobs()) == 6 and len(submit.records()) == 11


def test_largest_document(submit):
    """A document of the largest size goes through the broker; one byte more is refused by name."""
    def size(count, name):
        submit.write("d.txt", "x" * count)
        return submit.run("--batch", name, "--prompt", "{document}", "d.txt")

    done = size(MIB, "1")
    assert done.returncode == 2
    excess = int(done.stderr.decode().split("so it is ")[1].split()[0])
    done = size(MIB - excess + 1, "2")
    assert b"d.txt: becomes a message of 1047553 bytes; at most 1047552 fit" in done.stderr, done
    assert b"so it is 1 bytes too long" in done.stderr
    # Random text does not compress: the record travels at its full size.
    noise = os.urandom(MIB).hex()[:MIB - excess]
    submit.write("d.txt", noise)
    submit.ok("--batch", "3", "--prompt", "{document}", "d.txt")
    (record,) = submit.records()
    assert len(record.value) == MIB - 1024
    assert json.loads(verified(record, submit.app)["body"])["messages"][0]["content"] == noise
    submit.write("d.txt", "x" * (MIB + 70000))
    submit.refused("d.txt: has more than", "--batch", "4", "--prompt", "{document}", "d.txt")
    submit.write("d.txt", "y" * (2 * MIB))
    submit.ok("--batch", "5", "--prompt", "{document}", "--max-message-bytes", "4MiB",
              "d.txt")


def test_long_lines_are_passed_over(submit):
    submit.write("r.jsonl", chat("a") + "\n" + chat("b" * 3 * MIB) + "\n" + chat("c") + "\n")
    done = submit.run("--on-error", "skip", "r.jsonl")
    assert done.returncode == 1 and b"r.jsonl:2: has more than" in done.stderr
    assert set(submit.jobs()) == {"line-1", "line-3"}


def test_nothing_to_submit(submit):
    submit.write("empty.jsonl", "\n\n")
    (submit.dir / "docs").mkdir()
    submit.refused("nothing to submit", "empty.jsonl")
    submit.refused("nothing to submit", "--prompt", "{document}", "docs")
    submit.refused("nothing to submit", "--batch", "b", "-", data="")
    submit.refused("nothing to submit: name files")
    submit.refused("--prompt", "docs")


# ---- the batch ----

def test_again_does_nothing_twice(submit):
    submit.write("r.jsonl", chat_lines(50))
    batch = submit.ok("r.jsonl")
    assert submit.ok("r.jsonl") == batch
    assert submit.ok("--batch", submit.row()[1], "r.jsonl") == batch
    assert len(submit.records()) == 50
    submit.write("r.jsonl", chat_lines(51))
    submit.refused("was submitted with another input", "r.jsonl")
    other = submit.ok("--batch", "new", "r.jsonl")
    assert other != batch and len(submit.records()) == 101


def test_other_output_is_another_batch(submit):
    submit.write("r.jsonl", chat_lines(1))
    submit.ok("--batch", "b", "r.jsonl")
    submit.refused("other options for its output", "--batch", "b", "--output", "label:a,b",
                   "r.jsonl")


def register(submit, name, created_ms, **columns):
    names = ["batch_id", "app", "name", "created_ms", *columns]
    values = [str(uuid.UUID(bytes=id_of(b"inferq-batch-1", created_ms, [submit.app, name]))),
              submit.app, name, created_ms, *columns.values()]
    submit.sql(f"INSERT INTO batch ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",
               *values)


def test_old_cancelled_and_hand_sealed_batches(submit):
    now_ms = int(time.time() * 1000)
    register(submit, "old", 1000000000000)
    submit.refused("no longer kept", "--batch", "old", "-", data=chat_lines(1))
    register(submit, "cancelled", now_ms, cancel_requested_at="now")
    submit.refused("was cancelled", "--batch", "cancelled", "-", data=chat_lines(1))
    register(submit, "sealed", now_ms, sealed_at="now", total=7)
    submit.refused("sealed by hand", "--batch", "sealed", "-", data=chat_lines(1))
    assert submit.records() == []


def test_unfinished_batch_refuses_another_input(submit):
    """A run that died after it registered: the row says what it was about to send."""
    submit.write("r.jsonl", chat_lines(5))
    batch = submit.ok("--batch", "b", "r.jsonl")
    submit.sql("UPDATE batch SET sealed_at = NULL, total = NULL WHERE app = %s", submit.app)
    submit.write("r.jsonl", chat_lines(6))
    submit.refused("was begun with another input", "--batch", "b", "r.jsonl")
    assert len(submit.records()) == 5
    submit.refused("was begun with another input", "--batch", "b", "-", data=chat_lines(4))
    assert submit.row()[2:4] == (None, False), "a pipe is compared before the batch is sealed"
    submit.write("r.jsonl", chat_lines(5))
    assert submit.ok("--batch", "b", "r.jsonl") == batch
    assert submit.row()[2:4] == (5, True) and len(submit.jobs()) == 5


# ---- stopped in the middle ----

def test_killed_half_way(submit):
    """kill -9 while it sends; the next run completes the batch under the same ids."""
    count = 5000
    before = kafka_read.count(NORMAL)
    killed = submit.start("--batch", "b", "-")
    killed.stdin.write(chat_lines(count - 1).encode())  # the input goes on: it cannot be done
    killed.stdin.flush()
    wait_until(lambda: kafka_read.count(NORMAL) - before > 500)
    killed.kill()
    killed.communicate()
    sent = kafka_read.count(NORMAL) - before
    assert submit.row()[2:4] == (None, False)
    assert 500 < sent < count
    batch = submit.ok("--batch", "b", "-", data=chat_lines(count))
    assert submit.row()[0] == str(batch) and submit.row()[2:4] == (count, True)
    assert set(submit.jobs()) == {f"line-{i}" for i in range(1, count + 1)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_waiting_for_input(submit, number):
    """What was read is delivered; the status tells the signal, the message how to go on."""
    process = submit.start("--batch", "b", "-")
    process.stdin.write(chat_lines(100).encode())
    process.stdin.flush()
    wait_until(lambda: submit.sql("SELECT 1 FROM batch WHERE app = %s", submit.app))
    wait_until(lambda: len(submit.records()) > 0)
    process.send_signal(number)
    process.stdin = None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, b""), err
    assert b"100 jobs of batch b were sent, and it is not sealed" in err
    assert submit.row()[2:4] == (None, False) and len(submit.records()) == 100
    submit.ok("--batch", "b", "-", data=chat_lines(120))
    assert submit.row()[2:4] == (120, True) and len(submit.jobs()) == 120


def test_database_connection_lost_while_sending(submit):
    """It is made anew to seal the batch."""
    process = submit.start("--batch", "b", "-")
    process.stdin.write(chat_lines(10).encode())
    process.stdin.flush()
    wait_until(lambda: submit.sql("SELECT 1 FROM batch WHERE app = %s", submit.app))
    wait_until(lambda: len(submit.records()) > 0)
    submit.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
               "application_name = 'inferq-submit' AND datname = current_database()")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.decode().strip() == submit.row()[0] and submit.row()[2:4] == (10, True)


def test_interrupted_while_checking_sends_nothing(submit):
    """A sealed batch's input is read to be compared; a signal there leaves everything be."""
    batch = submit.ok("--batch", "b", "-", data=chat_lines(3))
    process = submit.start("--batch", "b", "-")
    process.stdin.write(chat_lines(2).encode())
    process.stdin.flush()
    wait_until(lambda: unread(process.stdin) == 0)
    process.send_signal(signal.SIGTERM)
    process.stdin = None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + signal.SIGTERM, b""), err
    assert b"interrupted; nothing was sent" in err
    assert submit.row()[0] == str(batch) and len(submit.records()) == 3


def test_reader_that_went_away(submit):
    """A closed standard output is no failure of the submission."""
    submit.write("r.jsonl", chat_lines(2))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(submit.command("r.jsonl"), stdout=writer, stderr=subprocess.PIPE,
                          cwd=submit.dir, env=submit.env, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert submit.row()[2:4] == (2, True)


# ---- waiting ----

def finish(submit, counts):
    """Ends jobs of the app's batch as a worker's store would count them."""
    for status, n in counts.items():
        submit.sql("INSERT INTO progress (batch_id, status, n) SELECT batch_id, %s, %s FROM batch "
                   "WHERE app = %s", status, n, submit.app)


def test_wait_for_success(submit):
    submit.write("r.jsonl", chat_lines(5))
    process = submit.start("--wait", "r.jsonl")
    wait_until(lambda: submit.sql("SELECT 1 FROM batch WHERE app = %s AND sealed_at IS NOT NULL",
                                  submit.app))
    finish(submit, {1: 3})
    time.sleep(1)
    assert process.poll() is None, "two are pending"
    finish(submit, {1: 2})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.decode().strip() == submit.row()[0]


def test_wait_tells_failures(submit):
    submit.write("r.jsonl", chat_lines(5))
    submit.ok("r.jsonl")
    finish(submit, {1: 2, 2: 1, 3: 1, 4: 1})
    done = submit.run("--wait", "r.jsonl")
    assert done.returncode == 1
    assert b"3 of 5 jobs did not succeed (1 dead, 1 cancelled, 1 expired)" in done.stderr
    batch = f"{submit.app}/{submit.row()[1]}"
    assert f"`inferq dead list --batch {batch}` says why".encode() in done.stderr, done


def test_hints_name_the_batch_as_other_commands_take_it(submit):
    """Where a shell would want quotes, by its id."""
    submit.write("r.jsonl", chat_lines(1))
    batch = submit.ok("--batch", "my June's", "r.jsonl")
    finish(submit, {2: 1})
    done = submit.run("--batch", "my June's", "--wait", "r.jsonl")
    assert done.returncode == 1 and f"`inferq results {batch} --failed`".encode() in done.stderr


def test_who_stops_waiting_hears_how_to_go_on(submit):
    submit.write("r.jsonl", chat_lines(1))
    process = submit.start("--batch", "b", "--wait", "r.jsonl")
    assert process.stdout.readline()  # the id: from here on it waits
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT
    assert f"`inferq batch watch {submit.app}/b` follows them".encode() in said, said


def test_wait_judges_a_requeued_job_by_its_new_generation(submit):
    submit.write("r.jsonl", chat_lines(3))
    submit.ok("r.jsonl")
    finish(submit, {1: 2, 2: 1})
    submit.sql("UPDATE batch SET requeued = 1 WHERE app = %s", submit.app)
    process = submit.start("--wait", "r.jsonl")
    time.sleep(1)
    assert process.poll() is None, "the new generation is pending"
    finish(submit, {2: 1})
    assert process.wait(timeout=60) == 1
    assert b"1 of 3 jobs did not succeed (1 dead," in process.communicate()[1]
    finish(submit, {1: 1})
    submit.sql("UPDATE batch SET requeued = 2 WHERE app = %s", submit.app)
    submit.ok("--wait", "r.jsonl")


def test_wait_outlives_a_lost_connection(submit):
    submit.write("r.jsonl", chat_lines(1))
    process = submit.start("--wait", "r.jsonl")
    wait_until(lambda: submit.sql("SELECT 1 FROM batch WHERE app = %s AND sealed_at IS NOT NULL",
                                  submit.app))
    time.sleep(0.5)
    assert submit.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                      "application_name = 'inferq-submit' AND datname = current_database()") > [(0,)]
    finish(submit, {1: 1})
    assert process.wait(timeout=60) == 0
    process.communicate()


def test_wait_ends_at_a_signal(submit):
    submit.write("r.jsonl", chat_lines(1))
    process = submit.start("--wait", "r.jsonl")
    assert process.stdout.readline().decode().strip() == submit.row()[0]
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT and b"the jobs go on" in err


# ---- set-up that is wrong ----

def test_servers_away(submit):
    submit.write("r.jsonl", chat_lines(1))
    submit.refused("127.0.0.1", "r.jsonl", code=3, env={"PGHOST": "127.0.0.1", "PGPORT": "1"})
    done = submit.run("r.jsonl", env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert done.returncode == 3 and b"Kafka at 127.0.0.1:1" in done.stderr, done
    assert submit.sql("SELECT count(*) FROM batch WHERE app = %s", submit.app) == [(0,)]


def test_set_up_is_missing(submit):
    submit.write("r.jsonl", chat_lines(1))
    name = f"inferq_bare_{os.getpid()}"
    conn = scratch_database(name)
    try:
        submit.refused("run `inferq migrate` first", "r.jsonl", env={"PGDATABASE": name})
    finally:
        drop_database(conn, name)
    done = submit.run("--prefix", "nothere", "r.jsonl")
    assert done.returncode == 2, done
    assert b"topic nothere.jobs.normal is not there: make it with `inferq topics`" in done.stderr
    assert submit.row()[2:4] == (None, False)
    submit.ok("r.jsonl")
    assert submit.row()[2:4] == (1, True)


def test_signing_key_is_needed(submit):
    submit.write("r.jsonl", chat_lines(1))
    submit.refused("openssl rand -hex 32", "r.jsonl", env={"INFERQ_SIGNING_KEY": ""})
    submit.refused("signing.key", "r.jsonl", env={"INFERQ_SIGNING_KEY": "file:/nonexistent"})
    submit.refused("env:NAME or file:PATH", "r.jsonl", env={"INFERQ_SIGNING_KEY": KEY})
    assert submit.records() == []


def test_settings(submit):
    """Flag over environment over file over default; secrets are not shown."""
    submit.write("c.conf", "prefix = fromfile\nteam = blue\nkafka.linger.ms = 7\n")
    done = submit.run("--config", "c.conf", "--print-config", "--kafka.linger.ms", "9")
    shown = done.stdout.decode()
    assert done.returncode == 0, done
    assert PREFIX in shown and "fromfile" not in shown
    assert "blue" in shown and "kafka.linger.ms = 9" in shown
    assert submit.run("--help").returncode == 0
    assert submit.run("--version").stdout.startswith(b"inferq-submit ")
    submit.refused("unknown option --bach", "--bach", "x")


def test_as_a_producer_role(submit):
    """The role inferq_producer suffices, and no more is asked for."""
    user = f"submit_role_{os.getpid()}"
    submit.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'p' IN ROLE inferq_producer")
    try:
        env = {"PGUSER": user, "PGPASSWORD": "p"}
        submit.write("r.jsonl", chat_lines(2))
        batch = submit.ok("--prompt", "{document}", "--format", "lines", "r.jsonl", env=env)
        finish(submit, {1: 2})
        assert submit.ok("--prompt", "{document}", "--format", "lines", "--wait", "r.jsonl",
                         env=env) == batch
        assert submit.run("--dry-run", "r.jsonl", env=env).returncode == 0
    finally:
        submit.sql(f"DROP ROLE {user}")


# ---- dry run ----

CATALOGUE = """
catalogue: test
endpoints:
  - name: e
    base_url: http://127.0.0.1:1
models:
  - name: small
    versions:
      - version: "1"
        upstream_model: s
        endpoint: e
        max_output_tokens: 100
        prices:
          - from: 2024-01-01T00:00:00Z
            input_per_million_usd: 1.00
            output_per_million_usd: 2.00
defaults:
  - app: "*"
    task: "*"
    model: small
"""


def test_dry_run(submit):
    submit.write("c.yaml", CATALOGUE)
    body = chat("q" * 353)
    assert len(body) == 400
    submit.write("r.jsonl", (body + "\n") * 10)
    nowhere = {"PGPORT": "1", "PGHOST": "127.0.0.1", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
               "INFERQ_SIGNING_KEY": ""}
    done = submit.run("--dry-run", "--catalogue", "c.yaml", "r.jsonl", env=nowhere)
    assert done.returncode == 0, done
    shown = done.stdout.decode()
    # 10 x 100 input tokens at 1 USD a million, 10 x 100 output tokens at 2 USD a million
    assert "cost at most, one call a job: 0.003" in shown, shown
    assert "small@1" in shown and "jobs: 10, bodies: 4000 bytes" in shown
    assert NORMAL in shown and "line-1  /v1/chat/completions" in shown
    done = submit.run("--dry-run", "r.jsonl", env=nowhere)
    assert done.returncode == 0 and b"cost at most, one call a job: unknown" in done.stdout
    submit.refused("r.jsonl:11: byte 0", "--dry-run", submit.write(
        "r.jsonl", (body + "\n") * 10 + "x"))
    assert submit.sql("SELECT count(*) FROM batch WHERE app = %s", submit.app) == [(0,)]


def store_catalogue(submit, model):
    """As a worker applies it: one version, with a price; the default of the test's app."""
    submit.sql("""
        WITH e AS (INSERT INTO endpoint (name, version, base_url, adapter, credential, ca_file,
                       max_in_flight, timeout_ms, connect_timeout_ms, send_ids, idempotency_key,
                       sha256)
                   VALUES (%s, 1, 'http://x', 0, '', '', 1, 1000, 1000, false, false, '')
                   RETURNING endpoint_id),
             m AS (INSERT INTO model (name, provider, owner) VALUES (%s, '', '')
                   RETURNING name),
             v AS (INSERT INTO model_version (model, version, label, upstream_model, endpoint_id,
                       state, context_tokens, max_output_tokens, sha256)
                   SELECT name, '3', name || '@3', 'b', endpoint_id, 2, 0, 0, '' FROM e, m
                   RETURNING model_version_id),
             d AS (INSERT INTO model_default SELECT %s, '*', name FROM m)
        INSERT INTO price (model_version_id, valid_from, input_pusd, output_pusd, request_pusd)
        SELECT model_version_id, '2024-01-01', 1000000, 2000000, 0 FROM v""", model, model, submit.app)
    submit.sql("UPDATE model SET current_version_id = (SELECT model_version_id FROM model_version "
               "WHERE label = %s || '@3') WHERE name = %s", model, model)


def test_dry_run_with_the_stored_catalogue(submit):
    """The same rule as with a file: the most specific default, else the model that is named."""
    store_catalogue(submit, "big")
    body = chat("q" * 353)
    submit.write("r.jsonl", (body + "\n") * 10)
    for model in ([], ["--model", "big"], ["--model", "big@3"]):
        done = submit.run("--dry-run", "--max-output-tokens", "100", *model, "r.jsonl")
        assert b"big@3" in done.stdout and b"unknown" not in done.stdout, done
    done = submit.run("--dry-run", "r.jsonl")
    assert b"10 jobs set no limit to the output" in done.stdout
    done = submit.run("--dry-run", "--model", "strange", "r.jsonl")
    assert b"no such model" in done.stdout


def test_a_model_that_the_catalogue_lacks_is_warned_of(submit):
    """The jobs are sent all the same: a worker may bring the model before they are read."""
    store_catalogue(submit, "known")
    submit.write("a.txt", "text")
    documents = ("--prompt", "{document}", "a.txt")
    for good in (["--model", "known"], ["--model", "known@3"], []):
        submit.ok(*good, *documents)
    typo = submit.run("--model", "knwon", *documents)
    assert typo.returncode == 0 and typo.stdout and b"has no model knwon:" in typo.stderr, typo
    submit.sql("DELETE FROM model_default WHERE app = %s", submit.app)
    none = submit.run("--batch", "b", *documents)
    assert none.returncode == 0 and b"no default for this app and task" in none.stderr, none
    submit.write("r.jsonl", chat_lines(1))
    submit.ok("r.jsonl")


# ---- memory, speed, the terminal ----

def test_memory_is_bounded(submit):
    """SUBMIT_TEST_LINES=5000000 shows the whole claim; every run shows that the set of ids is all
    that grows."""
    count = int(os.environ.get("SUBMIT_TEST_LINES", "200000"))
    process = submit.start("--batch", "b", "-")
    line = chat("x" * 60)
    block = f"{line}\n" * 10000
    for _ in range(count // 10000):
        process.stdin.write(block.encode())
    early_kb = memory.peak_kb(process.pid)  # while it must still wait for more
    process.stdin.close()
    peak_kb = wait_with_peak_kb(process, early_kb)
    assert process.returncode == 0, process.stderr.read()
    assert submit.row()[2:4] == (count, True)
    print(f"{count} lines: {peak_kb} KiB")
    if not SANITIZED:
        assert peak_kb * 1024 < 128e6


def test_progress_on_a_terminal(submit):
    """A terminal sees a line that is written over; files and pipes see nothing (other tests)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(submit.command("--batch", "b", "-"), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=theirs, cwd=submit.dir,
                               env=submit.env)
    os.close(theirs)
    seen, sent = b"", 0
    # The input lasts until a line was seen: none falls due in the first moments.
    while not re.search(rb"\rsent [\d,]+, [\d,]+/s", seen):
        assert sent < 100000 and process.poll() is None, seen
        process.stdin.write(chat_lines(100).encode())
        process.stdin.flush()
        sent += 100
        seen += read_terminal(ours, 0.05)
    process.stdin.close()
    while piece := read_terminal(ours, 60):
        seen += piece
    assert process.wait(timeout=60) == 0, seen
    process.stdout.close()
    os.close(ours)
    shown = [int(n.replace(b",", b"")) for n in re.findall(rb"\rsent ([\d,]+), ", seen)]
    assert shown == sorted(shown) and shown[-1] <= sent
    assert f"batch b: {sent} jobs sent to {NORMAL}; `inferq batch watch {submit.app}/b`".encode() in seen


def read_terminal(terminal, seconds):
    """What it shows within that time; nothing if that is nothing, or its other end was closed."""
    ready, _, _ = select.select([terminal], [], [], seconds)
    try:
        return os.read(terminal, 65536) if ready else b""
    except OSError:
        return b""
