"""Every command of `inferq`, as its help lists them, and a worker, with wrong things: servers that are
not there, a wrong password, no tables, files that cannot be read, an output that nobody takes.

Each must end soon, with the exit code that the README promises (2 bad input, 3 a server cannot be
reached) and one message that says what is wrong, where, and how to mend it; no secret in it. A command
that is new is covered as soon as the help lists it: an argument is made up by its name.
"""
import concurrent.futures
import contextlib
import os
import re
import subprocess
import uuid

import pytest

from admin_fixture import BIN, INFERQ, Database
from harness import ROOT, run
from kafka_admin import Refused, delete_topic

SECRET = "Pl4nted-Passw0rd"
ANYWHERE = str(uuid.UUID(int=7))
ARGUMENTS = {"BATCH": ANYWHERE, "JOB": ANYWHERE, "NAME": "eu", "LANE": "low", "LIMIT": "app:a",
             "DIMENSION": "in_flight"}  # others are numbers: 1
# What a command cannot do without, beyond its arguments.
OPTIONS = {"batch seal": ["--total", "1"], "rewind": ["--to", "start"], "top": ["--once"],
           "skip": [ANYWHERE]}
NO_SERVER = {"help", "submit"}  # submit's own tests are in test_submit.py, what is wrong below
LIMIT_S = 90  # a loaded machine's; what waits for a server does so for about ten seconds
KAFKA_AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def listed():
    """{command: its words}, with an argument for each that it must have."""
    found = {}
    text = run(INFERQ, "help").stdout
    for name, rest in re.findall(r"^  ([a-z]+(?: [a-z]+)?)((?: [^a-z ][^ ]*)*)  ?", text,
                                 re.MULTILINE):
        words = name.split()
        for word in rest.partition("|")[0].split():
            if not word.startswith("[") or word == "[ID...]":
                words.append(ARGUMENTS.get(word.strip("[].") or word, "1"))
        found[name] = words + OPTIONS.get(name, [])
    assert len(found) > 20 and {"migrate", "batch show", "doctor", "help"} <= set(found)
    return found


COMMANDS = listed()


class Empty:
    """A migrated database without rows, one without tables, and topics without records."""

    def __init__(self):
        self.db = Database(f"wrong{uuid.uuid4().hex[:8]}")
        self.bare = Database(f"{self.db.name}b", migrated=False)
        self.env = {**self.db.env, "INFERQ_PREFIX": self.db.name, "INFERQ_GROUP": self.db.name,
                    "PGCONNECT_TIMEOUT": "10"}
        run(INFERQ, "topics", "--partitions", "1", env=self.env)


@pytest.fixture(scope="module")
def empty():
    made = Empty()
    yield made
    made.db.drop()
    made.bare.drop()
    for lane in ("jobs.high", "jobs.normal", "jobs.low", "jobs.eu", "dead"):
        with contextlib.suppress(Refused):  # where no test of those that were chosen made it
            delete_topic(f"{made.db.name}.{lane}")


def one(words, env, **how):
    """(exit status, standard output, standard error) of one command, which must end."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **how}
    done = subprocess.run([INFERQ, *words], env={**os.environ, **env}, stderr=subprocess.PIPE,
                          text=True, timeout=LIMIT_S, check=False, **how)
    return done.returncode, done.stdout or "", done.stderr


def every(names, env, *more, **how):
    """{command: what came of it}; side by side, as most of them wait."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = {name: pool.submit(one, [*COMMANDS[name], *more], env, **how) for name in names}
        return {name: future.result() for name, future in futures.items()}


def refused(results, code, *words):
    """All ended with `code`, and last a sentence of these words; no secret in any."""
    wrong = {name: r for name, r in results.items()
             if r[0] != code or not all(w in r[2] for w in words) or SECRET in r[1] + r[2]
             or not r[2].rpartition("\n")[0].rpartition("\n")[2].startswith(f"inferq {name}: ")}
    assert not wrong, wrong


def asking_postgres():
    return [n for n in COMMANDS if n not in NO_SERVER | {"topics", "doctor"}]


# ---- servers ------------------------------------------------------------------------------------

def test_postgres_is_not_there(empty):
    env = {**empty.env, "PGHOST": "127.0.0.1", "PGPORT": "1", "PGPASSWORD": SECRET}
    refused(every(asking_postgres(), env), 3, "127.0.0.1:1", empty.db.name)


def test_a_wrong_password(empty):
    """In the environment and in a connection string."""
    env = {**empty.env, "PGPASSWORD": SECRET}
    refused(every(asking_postgres(), env), 3, "password authentication failed")
    env = {**empty.env, "PGPASSWORD": ""}
    refused(every(["batch list", "migrate"], env, "--postgres", f"password={SECRET}"), 3, "password")
    code, out, err = one(["doctor"], {**empty.env, "PGPASSWORD": SECRET})
    assert code == 1 and "password authentication failed" in out and SECRET not in out + err


def test_a_database_that_is_not_there(empty):
    refused(every(asking_postgres(), {**empty.env, "PGDATABASE": "no_such_database"}), 3,
            "no_such_database")


def test_a_database_without_tables(empty):
    """Also a rewind would write who did it; where nothing was read yet it has nothing to do."""
    names = [n for n in asking_postgres() if n not in ("migrate", "rewind")]
    refused(every(names, {**empty.env, "PGDATABASE": empty.bare.name}), 2, "inferq migrate")


@pytest.fixture
def nobody(empty):
    """A login that may connect, and nothing else."""
    name = f"{empty.db.name}_nobody"
    empty.db.rows(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    yield name, {**empty.env, "PGUSER": name, "PGPASSWORD": SECRET}
    empty.db.rows(f"DROP ROLE {name}")


def test_a_login_without_rights(empty, nobody):
    """It is told which role to ask for, and not to migrate what is migrated; a bare database is."""
    name, env = nobody
    names = [n for n in asking_postgres() if n not in ("migrate", "rewind")]
    results = every(names, env)
    refused(results, 2, f"GRANT inferq_reader TO {name}", "inferq_operator")
    assert not [n for n, r in results.items() if "inferq migrate" in r[2]], results
    refused(every(["migrate"], env), 2, f"login {name} may not use them", "owns schema inferq")
    refused(every(["batch list", "dead list", "explain"], {**env, "PGDATABASE": empty.bare.name}), 2,
            "run `inferq migrate`")


def test_a_reader_who_wants_to_act(empty, nobody):
    name, env = nobody
    empty.db.rows(f"GRANT inferq_reader TO {name}")
    assert one(["batch", "list"], env)[0] == 0
    refused(every(["dead list", "skip"], env), 2, "inferq_operator")


def test_kafka_is_not_there(empty):
    """Those that ask it say so; those that do not, do not notice."""
    env = {**empty.env, **KAFKA_AWAY}
    here = every([n for n in COMMANDS if n not in NO_SERVER | {"doctor"}], empty.env)
    away = every(here, env)
    ask = {n for n in away if "Kafka" in away[n][2]}
    assert {"topics"} <= ask
    refused({n: away[n] for n in ask}, 3, "127.0.0.1:1")
    assert {n: r[0] for n, r in away.items() if n not in ask} == {
        n: r[0] for n, r in here.items() if n not in ask}


def test_submit_with_wrong_servers(empty, tmp_path):
    document = tmp_path / "one.txt"
    document.write_text("one")
    words = ["submit", "--app", "a", "--batch", "b", "--model", "m", "--prompt", "{document}",
             str(document)]
    key = {"INFERQ_SIGNING_KEY": "env:WRONG_KEY", "WRONG_KEY": "k:" + "ab" * 32}
    wrongs = [
        ({"PGHOST": "127.0.0.1", "PGPORT": "1"}, 3, "127.0.0.1:1"),
        ({"PGPASSWORD": SECRET}, 3, "password authentication failed"),
        (KAFKA_AWAY, 3, "Kafka at 127.0.0.1:1"),
        ({"PGDATABASE": empty.bare.name}, 2, "inferq migrate"),
        ({"INFERQ_PREFIX": "nothere"}, 2, "inferq topics"),
        ({"INFERQ_SIGNING_KEY": "file:/no/such/key"}, 2, "/no/such/key"),
    ]
    with concurrent.futures.ThreadPoolExecutor(len(wrongs)) as pool:
        ended = list(pool.map(lambda w: one([*words[:4], f"b{wrongs.index(w)}", *words[5:]],
                                            {**empty.env, **key, **w[0]}), wrongs))
    for (env, code, word), (status, out, err) in zip(wrongs, ended):
        assert status == code and word in err and SECRET not in out + err, (env, status, err)
        assert WRONG_KEY_HEX not in out + err


WRONG_KEY_HEX = "ab" * 32


@pytest.mark.parametrize("env, code, word", [
    ({"PGPASSWORD": SECRET}, 3, "password authentication failed"),
    ({"PGHOST": "127.0.0.1", "PGPORT": "1", "PGPASSWORD": SECRET}, 3, "127.0.0.1:1"),
    ({"PGDATABASE": "no_such_database"}, 3, "no_such_database"),
    ({"INFERQ_CATALOGUE": "/no/such/catalogue"}, 2, "/no/such/catalogue"),
    ({"INFERQ_CONFIG": ""}, 2, "catalogue"),
])
def test_a_worker_with_wrong_things(empty, env, code, word):
    catalogue = ROOT / "deploy" / "local" / "catalogue.example.yaml"
    base = {"INFERQ_CATALOGUE": str(catalogue), "MODEL_URL": "http://127.0.0.1:1",
            "INFERQ_LISTEN": "127.0.0.1:0"}
    if "INFERQ_CONFIG" in env:
        base.pop("INFERQ_CATALOGUE")
    done = subprocess.run([os.path.join(BIN, "inferq-worker")], timeout=LIMIT_S, check=False,
                          env={**os.environ, **empty.env, **base, **env}, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    assert done.returncode == code and word in said and SECRET not in said, (done.returncode, said)


# ---- files --------------------------------------------------------------------------------------

@pytest.mark.parametrize("content, words", [
    (None, ["No such file"]),
    ("prefix = x\nno line\n", [":2:"]),
    ("prefiks = x\n", [":1:", "prefix"]),
    (b"\xff\xfe\x00binary", ["not a configuration file"]),
], ids=["missing", "line", "unknown", "binary"])
def test_a_bad_configuration_file(empty, tmp_path, content, words):
    path = tmp_path / "inferq.conf"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    names = [n for n in COMMANDS if n not in NO_SERVER]
    refused(every(names, empty.env, "--config", str(path)), 2, str(path), *words)


def test_a_directory_is_no_configuration_file(empty, tmp_path):
    refused(every(["batch list", "topics", "doctor"], empty.env, "--config", str(tmp_path)), 2,
            str(tmp_path))


def test_an_option_that_is_not_there(empty):
    names = [n for n in COMMANDS if n != "submit"]
    refused(every(names, empty.env, "--jsom"), 2, "--jsom")


# ---- nobody takes what is printed ---------------------------------------------------------------

def printing(empty):
    """Commands that print something with nothing in the database."""
    results = every([n for n in COMMANDS if n not in NO_SERVER | {"top"}], empty.env)
    names = [n for n, r in results.items() if r[1]]
    assert {"batch list", "doctor", "migrate", "cost"} <= set(names), names
    return names


def test_a_full_disk_a_closed_output_and_a_reader_that_left(empty):
    names = printing(empty)
    with open("/dev/full", "w", encoding="utf-8") as full:
        refused(every(names, empty.env, stdout=full), 2, "standard output", "No space left")
    refused(every(names, empty.env, stdout=None, preexec_fn=lambda: os.close(1)), 2,
            "standard output", "Bad file descriptor")
    read, write = os.pipe()
    os.close(read)
    try:
        left = every(names, empty.env, stdout=write)
    finally:
        os.close(write)
    wrong = {n: r for n, r in left.items() if r[0] not in (0, 1) or "standard output" in r[2]}
    assert not wrong, wrong


def test_no_standard_streams_at_all(empty):
    """What is opened later must not take their numbers: a row would be written to a server."""
    def close_all():
        for number in (0, 1, 2):
            os.close(number)
    results = every(["batch list", "doctor", "migrate", "help"], empty.env, stdin=None, stdout=None,
                    preexec_fn=close_all)
    assert {n: r[0] for n, r in results.items()} == dict.fromkeys(results, 2), results


def test_no_terminal_and_no_editor(empty):
    """`dead edit` cannot ask, and says what to do instead; a screen needs a terminal."""
    batch = empty.db.batch("b", 1)
    letter = empty.db.dead(batch, "one")
    try:
        code, _, err = one(["dead", "edit", str(letter)],
                           {**empty.env, "EDITOR": "/no/such/editor", "VISUAL": ""})
        assert code == 2 and "/no/such/editor" in err, err
        assert empty.db.value("SELECT state FROM dead_letter") == 1
    finally:
        empty.db.rows("DELETE FROM dead_letter; DELETE FROM result; DELETE FROM progress; "
                      "DELETE FROM batch")
