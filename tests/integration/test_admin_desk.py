"""The review desk on a real Postgres: `inferq dead discard`, `accept` and `edit`, on rows made by
hand."""

import json
import os
import threading

import msgpack
import pytest

from admin_fixture import DEAD, REQUEUED, Database, fails, works

EDITED, ACCEPTED, DISCARDED = 4, 5, 6
REPLY = '{"choices":[{"message":{"content":"%s"}}]}'
BODY = b'{"model": "m",\n "max_tokens": 5, "messages": [{"role": "user", "content": "a, {b}"}]}'


@pytest.fixture(scope="module")
def shared():
    database = Database(f"admin_desk_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, with a catalogue and without rows."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, dead_letter, review_event, "
                "accepted, edited, audit_log, price, model, model_version, endpoint "
                "RESTART IDENTITY CASCADE")
    shared.catalogue()
    return shared


def dead(db, b, custom_id, answer=None, class_="bad_output", **more):
    """A dead job, whose model said `answer` (None: nothing)."""
    body = (REPLY % answer).encode() if answer is not None else None
    generation = more.get("generation", 0)
    db.result(b, custom_id, DEAD, class_, generation, 500, body=body)
    return db.letter(b, custom_id, class_, **more)


def state(db, dead_id):
    return db.value("SELECT state FROM dead_letter WHERE dead_id = %s", dead_id)


def events(db):
    return db.rows("SELECT actor, action, dead_id, job_id, new_job_id, detail FROM review_event "
                   "ORDER BY event_id")


def results(db, b, *flags):
    return [json.loads(line)
            for line in works(db.inferq("results", b.ref, *flags)).splitlines()]


# ---- what the three have in common ----------------------------------------------------------------

ACTS = {"discard": [], "accept": [], "edit": ["--set", "max_tokens=9"]}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_by_filter_wants_yes_and_can_be_tried(db, act):
    b, other = db.batch("r", 3), db.batch("s", 1, app="other")
    ids = [dead(db, b, f"c{i}", "said", "refused" if i else "bad_output",
                payload=b.message(f"c{i}", body=BODY)) for i in range(3)]
    dead(db, other, "c", "said", payload=other.message("c", body=BODY))
    flags = ["dead", act, *ACTS[act], "--batch", b.ref, "--class", "refused"]
    fails(db.inferq(*flags), 2, f"needs --yes; --dry-run shows what it would {act}")
    fails(db.inferq("dead", act, *ACTS[act]), 2, "give ids, or a filter")
    fails(db.inferq(*flags, "1"), 2, "give ids or a filter, not both")
    fails(db.inferq(*flags, "--yes", "--reason", "x" * 5000), 2, "--reason: at most 4096 bytes")
    done = db.inferq(*flags, "--dry-run")
    assert works(done).count("\n") == 3 and "would be" in done.stderr and ": 2; " in done.stderr
    assert events(db) == [] and db.value("SELECT count(*) FROM dead_letter WHERE state = 1") == 4
    assert db.value("SELECT count(*) FROM accepted") == db.value("SELECT count(*) FROM edited") == 0
    works(db.inferq(*flags, "--yes", "--limit", "1", "--actor", "ann", "--reason", "agreed"))
    assert [event[:3] + event[5:] for event in events(db)] == [("ann", act, ids[1], "agreed")]
    works(db.inferq(*flags, "--yes"))
    assert [event[2] for event in events(db)] == ids[1:]
    done = db.inferq(*flags, "--yes")
    assert works(done) == "" and ": 0; refused: 0" in done.stderr


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_done_once(db, act):
    """Racing reviewers: each letter has one review event, whoever comes first."""
    b = db.batch("r", 10)
    ids = [str(dead(db, b, f"c{i}", "said", payload=b.message(f"c{i}", body=BODY)))
           for i in range(10)]
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(
        db.inferq("dead", act, *ACTS[act], *ids).returncode)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {0, 1, 2} and len(codes) == 3
    assert db.value("SELECT count(*) FROM review_event") == 10
    for second in ACTS:
        done = db.inferq("dead", second, *ACTS[second], ids[0], "--actor", "ben")
        fails(done, 2, f"dead letter {ids[0]}: it was", "already", "by ", "nothing was")
    fails(db.inferq("dead", "requeue", ids[0]), 2, "already")
    assert db.value("SELECT count(*) FROM review_event") == 10


@pytest.mark.parametrize("act", ACTS)
def test_an_act_refuses_what_is_not_there(db, act):
    b = db.batch("r", 1)
    good = str(dead(db, b, "good", "said", payload=b.message("good", body=BODY)))
    fails(db.inferq("dead", act, *ACTS[act], "999"), 2, "dead letter 999: there is no such", "nothing")
    fails(db.inferq("dead", act, *ACTS[act], "one"), 2, "'one' is no dead letter's id")
    fails(db.inferq("dead", act, *ACTS[act], "--class", "odd", "--yes"), 2, "no class 'odd'")
    fails(db.inferq("dead", act, *ACTS[act], "--batch", "no/such", "--yes"), 2, "knows no batch")
    fails(db.inferq("dead", act, *ACTS[act], good, env={"PGPORT": "1"}), 3)
    done = db.inferq("dead", act, *ACTS[act], "999", good)
    assert works(done, 1).count("good") == 1 and ": 1; refused: 1" in done.stderr


def test_reviewers_may_and_operators_may_not(db):
    b = db.batch("r", 8)
    ids = {act: [str(dead(db, b, f"{act}{i}", "said", payload=b.message(f"{act}{i}", body=BODY)))
                 for i in range(2)] for act in ACTS}
    logins = {}
    for role in ("operator", "reviewer", "reader"):
        user = f"desk_{role}_{os.getpid()}"
        db.rows(f"CREATE ROLE {user} LOGIN PASSWORD 'pw' IN ROLE inferq_{role}")
        logins[role] = {"PGUSER": user, "PGPASSWORD": "pw"}
    try:
        for act, (first, second) in ids.items():
            works(db.inferq("dead", act, *ACTS[act], first, env=logins["reviewer"]))
            fails(db.inferq("dead", act, *ACTS[act], second, env=logins["operator"]), 2,
                  "may not do that")
        works(db.inferq("dead", "show", ids["edit"][0], env=logins["reviewer"]))
        for role in ("operator", "reviewer"):
            works(db.inferq("results", b.ref, env=logins[role]))
        db.rows(f"GRANT {logins['reader']['PGUSER']} TO CURRENT_USER")
        db.rows(f"SET ROLE {logins['reader']['PGUSER']}")
        assert db.value("SELECT count(*) FROM result_text WHERE outcome = 'accepted'") == 1
        assert db.value("SELECT dead_accepted FROM batch_progress") == 1
        with pytest.raises(Exception, match="permission denied"):
            db.rows("SELECT * FROM edited")
    finally:
        db.rows("RESET ROLE")
        for env in logins.values():
            db.rows(f"DROP ROLE {env['PGUSER']}")


# ---- discard --------------------------------------------------------------------------------------

def test_discard_ends_the_review(db):
    b = db.batch("r", 2)
    dead_id = dead(db, b, "a", "said", "refused")
    odd = db.letter(b, None, "malformed", payload=b"\xc1", job=False)
    before = db.progress(b)
    out = json.loads(works(db.inferq("dead", "discard", str(dead_id), str(odd), "--json",
                                     "--reason", "a test of ours", "--actor", "ann")))
    assert out == [{"dead_id": dead_id, "custom_id": "a", "class": "refused",
                    "job_id": str(b.job("a"))},
                   {"dead_id": odd, "custom_id": None, "class": "malformed", "job_id": None}]
    assert state(db, dead_id) == state(db, odd) == DISCARDED and db.progress(b) == before
    assert events(db) == [("ann", "discard", dead_id, b.job("a"), None, "a test of ours"),
                          ("ann", "discard", odd, None, None, "a test of ours")]
    assert json.loads(works(db.inferq("dead", "list", "--json"))) == []
    assert "discard by ann: a test of ours" in works(db.inferq("dead", "show", str(dead_id)))
    assert [row["outcome"] for row in results(db, b)] == ["dead"]
    done = db.inferq("results", b.ref, "--failed")
    assert works(done) == "" and "1 dead jobs that a reviewer discarded" in done.stderr


def test_discard_by_class_takes_letters_without_a_job(db):
    b = db.batch("r", 1)
    db.letter(b, None, "malformed", payload=b"\xc1", job=False)
    kept = dead(db, b, "a", "said")
    assert ": 1;" in db.inferq("dead", "discard", "--class", "malformed", "--yes").stderr
    assert state(db, kept) == 1


# ---- accept ---------------------------------------------------------------------------------------

def test_accept_takes_the_models_answer_and_rewrites_nothing(db):
    b = db.batch("r", 2)
    db.result(b, "fine")
    dead_id = dead(db, b, "a", "nearly right")
    rows = "SELECT r.*::text FROM result r ORDER BY job_id"
    before, progress = db.rows(rows), db.progress(b)
    works(db.inferq("batch", "watch", b.ref), 1)
    out = json.loads(works(db.inferq("dead", "accept", str(dead_id), "--json", "--actor", "ann")))
    assert out == [{"dead_id": dead_id, "custom_id": "a", "job_id": str(b.job("a")),
                    "answer": "nearly right"}]
    assert db.rows(rows) == before and db.progress(b) == progress, "dead is terminal"
    assert state(db, dead_id) == ACCEPTED
    assert db.rows("SELECT job_id, dead_id, batch_id, actor, answer FROM accepted") == [
        (b.job("a"), dead_id, b.id, "ann", None)]
    found = {row["custom_id"]: (row["status"], row["outcome"], row["answer"])
             for row in results(db, b)}
    assert found == {"a": ("dead", "accepted", "nearly right"),
                     "fine": ("succeeded", "succeeded", "yes")}
    assert db.rows("SELECT custom_id, status, outcome, answer FROM result_text ORDER BY 1") == [
        ("a", "dead", "accepted", "nearly right"), ("fine", "succeeded", "succeeded", "yes")]
    assert db.value("SELECT dead_accepted FROM batch_progress") == 1
    works(db.inferq("batch", "watch", b.ref), 0)
    done = db.inferq("results", b.ref, "--failed")
    assert works(done) == "" and "no failed job" in done.stderr


def test_accept_another_answer(db, tmp_path):
    b = db.batch("r", 3)
    answer = tmp_path / "answer"
    answer.write_text("what it should have said: ü\n")
    dead_id = str(dead(db, b, "a", None, "refused"))
    fails(db.inferq("dead", "accept", dead_id), 2, "no answer to accept (class refused)", "--output")
    works(db.inferq("dead", "accept", dead_id, "--output", str(answer)))
    label = b.message("b", output={"kind": "label", "labels": ["Spam", "Ham"]})
    dead_id = str(dead(db, b, "b", "perhaps", payload=label))
    fails(db.inferq("dead", "accept", dead_id, "--output", str(answer)), 2,
          "--output is not what the job asked for")
    answer.write_text("ham\n")
    assert "Ham" in works(db.inferq("dead", "accept", dead_id, "--output", str(answer)))
    wanted = {"a": "what it should have said: ü", "b": "Ham"}
    assert {row["custom_id"]: row["answer"] for row in results(db, b)} == wanted
    assert dict(db.rows("SELECT custom_id, answer FROM result_text")) == wanted


def test_accept_refusals(db, tmp_path):
    b = db.batch("r", 3)
    bad = db.letter(b, None, "malformed", payload=b"\xc1", job=False)
    fails(db.inferq("dead", "accept", str(bad)), 2, "holds no job", "discard")
    empty = dead(db, b, "empty", "")
    fails(db.inferq("dead", "accept", str(empty)), 2, "no answer to accept (class bad_output)")
    gone = db.letter(b, "gone", "refused")
    fails(db.inferq("dead", "accept", str(gone)), 2, "its result is gone")
    file = tmp_path / "answer"
    fails(db.inferq("dead", "accept", str(empty), "--output", str(file)), 2, "--output", "No such file")
    file.write_bytes(b"\xff")
    fails(db.inferq("dead", "accept", str(empty), "--output", str(file)), 2, "is not UTF-8 text")
    file.write_bytes(b"\n")
    fails(db.inferq("dead", "accept", str(empty), "--output", str(file)), 2, "is empty")
    fails(db.inferq("dead", "accept", "--class", "refused", "--yes", "--output", str(file)), 2,
          "give one ID with it")
    assert events(db) == [] and db.value("SELECT count(*) FROM accepted") == 0


# ---- edit -----------------------------------------------------------------------------------------

def parked_body(db):
    return bytes(msgpack.unpackb(bytes(db.value("SELECT payload FROM parked")))["body"])


def test_edit_sets_members_and_keeps_all_else(db):
    b = db.batch("r", 1)
    payload = b.message("a", body=BODY, prompt_version="p7", tags={"k": "v"}, later_key=[1])
    dead_id = dead(db, b, "a", "cut", payload=payload)
    out = json.loads(works(db.inferq("dead", "edit", str(dead_id), "--set", "max_tokens=50",
                                     "--set", "user=ann", "--json", "--actor", "ann",
                                     "--reason", "it was cut")))
    new_id = b.job("a", 1)
    assert out == [{"dead_id": dead_id, "custom_id": "a", "job_id": str(b.job("a")),
                    "new_job_id": str(new_id), "generation": 1}]
    wanted = BODY.replace(b"5,", b"50,").replace(b"{", b'{"user":"ann",', 1)
    new = msgpack.unpackb(bytes(db.value("SELECT payload FROM parked")))
    assert new == {**msgpack.unpackb(payload), "generation": 1, "job_id": new_id.bytes,
                   "body": wanted}, "the prompt's words are the same: its version stays"
    assert db.progress(b) == (2, 0, 1, 0, 0, 1) and state(db, dead_id) == EDITED
    assert bytes(db.value("SELECT payload FROM dead_letter")) == payload
    assert events(db) == [("ann", "edit", dead_id, b.job("a"), new_id, "it was cut")]
    rows = db.rows("SELECT new_job_id, dead_id, actor, body FROM edited")
    assert [(*row[:3], bytes(row[3])) for row in rows] == [(new_id, dead_id, "ann", wanted)]
    text = works(db.inferq("dead", "show", str(dead_id)))
    assert "the body that it runs with since" in text and "max_tokens\": 50" in text
    assert json.loads(works(db.inferq("dead", "show", str(dead_id), "--json")))["edited_body"] == \
        wanted.decode()
    # The new generation ends the old one's say, as after a requeue.
    assert results(db, b) == []
    db.rows("DELETE FROM parked")
    db.result(b, "a", generation=1)
    assert [row["generation"] for row in results(db, b)] == [1]
    works(db.inferq("batch", "watch", b.ref), 0)
    assert str(new_id) in works(db.inferq("explain", b.ref, "a"))


def test_edit_takes_a_whole_body(db, tmp_path):
    b = db.batch("r", 1)
    payload = b.message("a", body=BODY, prompt_version="p7")
    dead_id = str(dead(db, b, "a", payload=payload))
    file = tmp_path / "body"
    file.write_bytes(b'{"model":"m@1","messages":[]}')
    works(db.inferq("dead", "edit", dead_id, "--body", str(file)))
    assert parked_body(db) == file.read_bytes()
    new = msgpack.unpackb(bytes(db.value("SELECT payload FROM parked")))
    assert "prompt_version" not in new, "other words than the prompt's are not of its version"


def test_edit_in_an_editor(db, tmp_path):
    b = db.batch("r", 2)
    dead_id = str(dead(db, b, "a", payload=b.message("a", body=BODY)))
    seen, env = tmp_path / "seen", {"TMPDIR": str(tmp_path), "VISUAL": ""}
    editor = f"sed -i -e 's/\"max_tokens\": 5/\"max_tokens\": 60/' -e 'w {seen}'"
    works(db.inferq("dead", "edit", dead_id, env={**env, "EDITOR": editor}))
    assert seen.read_text().count("\n") == 10, "one member a line"
    assert json.loads(parked_body(db)) == {**json.loads(BODY), "max_tokens": 60}
    assert [path.name for path in tmp_path.iterdir()] == ["seen"], "the file went"

    other = str(dead(db, b, "b", payload=b.message("b", body=BODY)))
    for editor, said in (("true", "nothing was changed"), ("false", "ended with status 1"),
                         ("truncate -s 0", "the text is empty"), ("", "no editor: set EDITOR")):
        fails(db.inferq("dead", "edit", other, env={**env, "EDITOR": editor}), 2, said)
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]
    fails(db.inferq("dead", "edit", dead_id, env={**env, "EDITOR": "touch /dev/null;"}), 2,
          "it was edited already")
    done = fails(db.inferq("dead", "edit", other, env={**env, "EDITOR": "sed -i s/}/]/"}), 2,
                 "the body is no JSON", "what you wrote is in")
    kept = [path for path in tmp_path.iterdir() if path.name != "seen"]
    assert len(kept) == 1 and str(kept[0]) in done.stderr and kept[0].stat().st_mode & 0o77 == 0
    assert state(db, int(other)) == 1 and db.value("SELECT count(*) FROM edited") == 1


def test_edit_refusals(db, tmp_path):
    b = db.batch("r", 3)
    dead_id = str(dead(db, b, "a", payload=b.message("a", body=BODY)))
    twice = str(dead(db, b, "b", payload=b.message("b", body=b'{"model":"m","n":1,"n":2}')))
    file = tmp_path / "body"
    file.write_text('["no object"]')
    for flags, said in (
            ([dead_id, "--set", "max_tokens=5"], "nothing would be changed; `inferq dead requeue"),
            ([dead_id, "--set", "model=large"], "the catalogue has no model 'large'; it has: m"),
            ([dead_id, "--set", "model=7"], '"model" is no name'),
            ([dead_id, "--set", "=7"], "'=7' is not KEY=VALUE"),
            ([dead_id, "--set", "max_tokens"], "is not KEY=VALUE"),
            ([twice, "--set", "n=3"], "twice"),
            ([dead_id, "--body", str(file)], "the body is no JSON object"),
            ([dead_id, "--body", str(tmp_path / "none")], "No such file"),
            ([dead_id, "--body", str(file), "--set", "a=1"], "does not go with --set"),
            ([dead_id, twice, "--body", str(file)], "give one ID"),
            (["--class", "refused", "--yes"], "give one ID"),
            ([dead_id, "--dry-run"], "not with the editor"),
            ([dead_id, "--set", "n=1", "--deadline", "soon"], "is not a time to come"),
            (["--set"], "--set needs a value after it")):
        fails(db.inferq("dead", "edit", *flags, env={"EDITOR": "true"}), 2, said)
    assert events(db) == [] and db.value("SELECT count(*) FROM parked") == 0
    gone = db.batch("gone", 1, cancel_requested_at="2026-01-01T00:00:00Z")
    fails(db.inferq("dead", "edit", str(dead(db, gone, "a")), "--set", "n=1"), 2,
          "its batch was cancelled")


def test_a_letter_of_before_is_left_alone(db):
    """What was requeued before cannot be accepted behind the new generation's back."""
    b = db.batch("r", 1)
    dead_id = str(dead(db, b, "a", "said", state=REQUEUED))
    fails(db.inferq("dead", "accept", dead_id), 2, "it is requeued: its review is over")
    assert db.value("SELECT count(*) FROM accepted") == 0
