"""The load under which workers meet their failpoints: for every arrow of the path, jobs that take it.

Bulk(world).feed(n) submits plain jobs. Odd(world).feed(kinds) produces one job of each kind into each
partition of the lane `high`, so that whoever holds a partition meets all of them; check_endings() says how
each kind must have ended. Everything is signed, for the workers require it.
"""
import hashlib
import json
import os
import pathlib

from harness import TOOLS, Message, make_vectors, model, run

PARTITIONS = 20
# What jobs do to their endpoint (it is paused, it is full) concerns no other.
MODELS = [model("busy", max_in_flight=1000), model("flaky", max_in_flight=50),
          model("later", max_in_flight=50), model("narrow", max_in_flight=1)]
OUTPUT = {"kind": "label", "labels": ["yes", "no"]}

# Postgres as a slow and as a refusing server, for the jobs of these tables.
TRIGGERS = """
CREATE TABLE slow_to_park (job_id uuid PRIMARY KEY);
CREATE TABLE never_parked (job_id uuid PRIMARY KEY);
CREATE FUNCTION parks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT FROM inferq.never_parked n WHERE n.job_id = NEW.job_id) THEN
    RAISE 'not this one' USING ERRCODE = '22000';
  END IF;
  IF EXISTS (SELECT FROM inferq.slow_to_park s WHERE s.job_id = NEW.job_id) THEN
    PERFORM pg_sleep(1.5);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER parks BEFORE INSERT ON parked FOR EACH ROW EXECUTE FUNCTION parks();
CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.class <> 19 THEN  -- unstorable
    RAISE 'not as it is' USING ERRCODE = '22000';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuses BEFORE INSERT ON result FOR EACH ROW
  WHEN (NEW.custom_id LIKE 'refused-%') EXECUTE FUNCTION refuses();
"""


def signing_key():
    """(as a ring's line, the key's bytes) of the key that submit finds in the environment."""
    text = pathlib.Path(os.environ["INFERQ_SIGNING_KEY"].removeprefix("file:")).read_text()
    key = bytes.fromhex(text.strip().rsplit(":", 1)[-1])
    return f"pipe default:{key.hex()}\n", key


class Bulk:
    """Plain jobs, with some that are retried at once or asked again: what keeps calls in flight."""

    def __init__(self, world):
        self.world = world
        self.batches = []

    def feed(self, jobs):
        path = self.world.tmp / f"bulk-{len(self.batches)}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for i in range(jobs):
                file.write(json.dumps({
                    "custom_id": f"plain-{i}", "model": "busy", "max_tokens": 50,
                    "messages": [{"role": "user", "content": f"plain text {i}"}]}) + "\n")
        self.batches.append((self.world.submit("--format", "jsonl", path), jobs))

    def check_endings(self):
        for batch, jobs in self.batches:
            counts = self.world.counts(batch)
            assert (counts["accepted"], counts["succeeded"]) == (jobs, jobs), counts


class Odd:
    """One batch of jobs made by hand. Each kind's function returns (changes of the message, how
    often the record is sent); what it says in its first line is where it goes."""

    def __init__(self, world):
        self.world = world
        self.message = Message(batch="odd")
        self.key = signing_key()[1]
        self.jobs = {}  # custom id -> kind
        self.strays = 0  # records that are no jobs
        world.database.rows(TRIGGERS)

    @staticmethod
    def kinds():
        return [name.removeprefix("make_") for name in dir(Odd) if name.startswith("make_")]

    def feed(self, kinds):
        lines = []
        for kind in kinds:
            for partition in range(PARTITIONS):
                lines += self._records(kind, partition)
        run(TOOLS / "kput", stdin="".join(json.dumps(line) + "\n" for line in lines),
            env=self.world.env)

    def _records(self, kind, partition):
        custom_id = f"{kind}-{len(self.jobs) + self.strays}"
        if kind == "garbage":
            self.strays += 1
            return [self._record(f"garbage {custom_id}".encode(), partition)]
        changes, copies = getattr(self, f"make_{kind}")(self.message.job_id(custom_id))
        text, name = changes.pop("text"), changes.pop("model", "busy")
        body = {"model": name, "max_tokens": 50,
                "messages": [{"role": "user", "content": f"{text} {custom_id}"}]}
        value = self.message.pack(custom_id, body=body, **changes)
        if kind == "forged":
            self.strays += 1
            return [self._record(value, partition, key=b"not the app's key")]
        self.jobs[custom_id] = kind
        return [self._record(value, partition)] * copies

    def _record(self, value, partition, key=None):
        signature = make_vectors.signature("default", key or self.key, value)
        return {"topic": self.world.topic("high"), "partition": partition, "value": value.hex(),
                "key": hashlib.sha256(value).digest()[:16].hex(),
                "headers": {"inferq-signature": signature.encode().hex()}}

    # ---- kinds: where they go

    def make_garbage(self, job_id):
        """FETCHED -> BURY -> SETTLED"""

    def make_forged(self, _job_id):
        """ADMIT -> BURY"""
        return {"text": "forged"}, 1

    def make_expired(self, _job_id):
        """ADMIT -> STORE"""
        return {"text": "too late", "deadline": self.message.created_ms}, 1

    def make_nowhere(self, _job_id):
        """ROUTE -> STORE: a dead letter"""
        return {"text": "which model?", "model": "unheard-of"}, 1

    def make_invalid(self, _job_id):
        """CHECK -> STORE: a dead letter"""
        return {"text": "[[sim: status=400 latency=0]] bad"}, 1

    def make_retried(self, _job_id):
        """STORE -> RETRY -> THROTTLE"""
        return {"text": "[[sim: status=429 retry-after=3 times=1 latency=0]] again",
                "model": "flaky"}, 1

    def make_parked(self, _job_id):
        """STORE -> PARK -> SETTLED; those behind it THROTTLE -> PARK"""
        return {"text": "[[sim: status=429 retry-after=6 times=1 latency=0]] later",
                "model": "later"}, 1

    def make_unparkable(self, job_id):
        """PARK -> STORE, once and for all"""
        self.world.rows("INSERT INTO never_parked VALUES (%s)", job_id)
        return {"text": "[[sim: status=429 retry-after=6 latency=0]] later", "model": "later"}, 1

    def make_reasked(self, _job_id):
        """STORE -> THROTTLE"""
        return {"text": "Labels: yes, no\n[[sim: until-reask=1 answer=bad-label]] which?",
                "output": OUTPUT}, 1

    def make_refused(self, _job_id):
        """STORE -> STORE"""
        return {"text": "[[sim: latency=0]] no row for this"}, 1

    def make_narrow(self, _job_id):
        """THROTTLE -> STORE, for those that wait in their lane until the deadline"""
        now_ms = self.world.value("SELECT (extract(epoch FROM now()) * 1000)::int8")
        return {"text": "[[sim: latency=3500ms]] one by one", "model": "narrow", "deadline": now_ms + 3000}, 1

    def make_twin(self, _job_id):
        """The second copy FETCHED -> WAIT -> FETCHED ... CLAIM -> SETTLED"""
        return {"text": "twice"}, 2

    def make_slowtwin(self, _job_id):
        """The first copy is parked while it runs; the second then FETCHED -> SETTLED"""
        return {"text": "[[sim: latency=7s]] twice and slow"}, 2

    def make_crossing(self, job_id):
        """The first copy ends while it is being parked: SETTLED -> CLAIM -> SETTLED"""
        self.world.rows("INSERT INTO slow_to_park VALUES (%s)", job_id)
        return {"text": "[[sim: latency=2800ms]] parked and ended at once"}, 2

    # ---- jobs that another worker was at: its rows are made by hand

    def _owner(self, lease_s):
        """A worker with a lease of so many seconds; none: it is fenced."""
        return self.world.value(
            "INSERT INTO worker (host, pid, build, lease_until, fenced) VALUES"
            " ('elsewhere', 1, 'other', now() + %s * interval '1 s', %s) RETURNING worker_id",
            lease_s, lease_s <= 0)

    def _claimed(self, job_id, lease_s):
        self.world.rows(
            "INSERT INTO call (job_id, batch_id, worker_id, model_version_id, endpoint_id, number,"
            " kind) SELECT %s, %s, %s, v.model_version_id, v.endpoint_id, 1, 1"
            " FROM model_version v JOIN endpoint e USING (endpoint_id) WHERE e.name = 'at-busy'",
            job_id, self.message.batch_id, self._owner(lease_s))

    def make_owned(self, job_id):
        """CLAIM -> WAIT -> THROTTLE -> CLAIM -> PARK"""
        self._claimed(job_id, 8)
        return {"text": "live elsewhere"}, 1

    def make_orphan(self, job_id):
        """CLAIM -> CALL with the second number"""
        self._claimed(job_id, -10)
        return {"text": "its worker is gone"}, 1

    def make_spent(self, job_id):
        """CLAIM -> STORE: a dead letter"""
        self._claimed(job_id, -10)
        return {"text": "its last attempt is lost", "max_attempts": 1}, 1

    def make_late(self, job_id):
        """STORE -> CLAIM -> WAIT -> CLAIM: its verdict yields to the call elsewhere"""
        self._claimed(job_id, 8)
        return {"text": "too late, and live elsewhere", "deadline": self.message.created_ms}, 1

    # ---- how each kind ends

    ENDINGS = {"expired": {"expired"}, "late": {"expired"}, "narrow": {"succeeded", "expired"},
               "nowhere": {"dead no_model"}, "invalid": {"dead invalid"},
               "refused": {"dead unstorable"}, "unparkable": {"dead unstorable"},
               "spent": {"dead attempts_spent"}}

    def seal(self):
        self.world.inferq("batch", "seal", str(self.message.batch_id), "--total",
                          str(len(self.jobs)))

    def check_endings(self):
        ended = {custom_id: row["status"] if row["status"] != "dead" else f"dead {row['class']}"
                 for custom_id, row in self.world.results(self.message.batch_id).items()}
        assert ended.keys() == self.jobs.keys()
        for custom_id, kind in self.jobs.items():
            assert ended[custom_id] in self.ENDINGS.get(kind, {"succeeded"}), (custom_id,
                                                                              ended[custom_id])
        buried = self.world.value("SELECT count(*) FROM dead_letter WHERE job_id IS NULL")
        assert buried == self.strays
