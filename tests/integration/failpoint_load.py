"""The load under which workers meet their failpoints: for every arrow of the path, jobs that take it.

Bulk(world).feed(n) submits plain jobs. Odd(world).feed(kinds) produces one job of each kind into each
partition of the lane `high`, so that whoever holds a partition meets all of them; check_endings() says how
each kind must have ended. Everything is signed, for the workers require it.
"""
import hashlib
import json
import os
import pathlib
import uuid

import msgpack

from harness import TOOLS, Message, make_vectors, model, run

PARTITIONS = 20
# An endpoint that throttles comes to rest before it is asked for the next call to throttle; and it
# throttles one of many: each of them would be the fleet's probe once, and pause it again.
TURNS = 4
# What jobs do to their endpoint (it is paused, it is full) concerns no other.
MODELS = [model("busy", max_in_flight=1000, retry={"budget": 1}), model("narrow", max_in_flight=1),
          model("short", max_in_flight=50, version={"larger_context": "busy@1"}),
          model("doomed", max_in_flight=1), model("never", max_in_flight=50),
          model("flaky", max_in_flight=50, retry={"budget": 1}),
          *[model(f"later-{i}", max_in_flight=50, retry={"budget": 1}) for i in range(TURNS)]]
OUTPUT = {"kind": "label", "labels": ["yes", "no"]}

# Postgres as a slow and as a refusing server, for the jobs of these tables.
TRIGGERS = """
CREATE TABLE slow_to_park (job_id uuid PRIMARY KEY);
CREATE TABLE never_parked (job_id uuid PRIMARY KEY);
CREATE FUNCTION parks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT FROM inferq.never_parked n WHERE n.job_id = NEW.job_id) THEN
    RAISE 'not this one' USING ERRCODE = '22000';
  END IF;
  IF EXISTS (SELECT FROM inferq.slow_to_park s WHERE s.job_id = NEW.job_id)
     AND current_setting('test.slept', true) IS DISTINCT FROM 'yes' THEN  -- once in a transaction
    PERFORM set_config('test.slept', 'yes', true), pg_sleep(1.5);
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

# Postgres as if the partition of all ids of before `cut` were dropped; FIRST_KEPT is older than none
# of the other jobs.
DROPPED = """
CREATE TABLE cut (ms bigint);
INSERT INTO cut VALUES (0);
CREATE OR REPLACE FUNCTION oldest_live_ms() RETURNS bigint LANGUAGE sql STABLE RETURN (
  SELECT greatest(min(lower_ms), (SELECT ms FROM inferq.cut)) FROM inferq.partition_span);
CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF ('x' || left(replace(NEW.job_id::text, '-', ''), 12))::bit(48)::bigint
     < (SELECT ms FROM inferq.cut) THEN
    RAISE 'no partition of relation' USING ERRCODE = '23514';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER drops BEFORE INSERT ON call FOR EACH ROW
  WHEN (NEW.job_id < 'FIRST_KEPT') EXECUTE FUNCTION drops();
CREATE TRIGGER drops BEFORE INSERT ON result FOR EACH ROW
  WHEN (NEW.job_id < 'FIRST_KEPT') EXECUTE FUNCTION drops();
"""
CUT_FEEDS = 4  # a worker that is refused for want of a partition tries again for a second or two
SELDOM = {"crossing": 3}  # it holds up everything else of its worker for a while: every third feed
BEFORE_MS = 3600 * 1000  # so much older than all others are the jobs whose partition goes


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
        self.dropped = set()  # custom ids of jobs whose partition goes
        self.strays = 0  # records that are no jobs
        self.feeds = self.parked = 0
        world.database.rows(TRIGGERS)
        status, _, _ = world.sim.control(
            "model=short status=400 code=context_length_exceeded latency=0\n")
        assert status == 200
        first = uuid.UUID(int=self.message.created_ms << 80)
        world.database.rows(DROPPED.replace("FIRST_KEPT", str(first)))

    @staticmethod
    def kinds():
        return [name.removeprefix("make_") for name in dir(Odd) if name.startswith("make_")]

    def feed(self, kinds):
        self.feeds += 1
        if self.feeds % CUT_FEEDS == 0:
            self.world.rows("UPDATE cut SET ms = %s", self._cut_ms())
        lines = []
        for kind in kinds:
            for partition in range(PARTITIONS):
                lines += self._records(kind, partition)
        run(TOOLS / "kput", stdin="".join(json.dumps(line) + "\n" for line in lines),
            env=self.world.env)

    def _cut_ms(self):
        """What is older has no partition once this feed, or the next that cuts, has begun."""
        cuts = -(-self.feeds // CUT_FEEDS)
        return self.message.created_ms - BEFORE_MS + 10 * cuts

    def _records(self, kind, partition):
        custom_id = f"{kind}-{len(self.jobs) + len(self.dropped) + self.strays}"
        if kind == "garbage":
            self.strays += 1
            return [self._record(f"garbage {custom_id}".encode(), partition)]
        if self.feeds % SELDOM.get(kind, 1):
            return []
        changes, copies = getattr(self, f"make_{kind}")(self.message.job_id(custom_id))
        text, name = changes.pop("text"), changes.pop("model", "busy")
        dropped_in = changes.pop("dropped_in", None)
        if dropped_in not in (None, -self.feeds % CUT_FEEDS):
            return []
        message = self.message if dropped_in is None else Message(
            batch=f"dropped {self.feeds}", created_ms=self._cut_ms() - 1)
        body = {"model": name, "max_tokens": 50,
                "messages": [{"role": "user", "content": f"{text} {custom_id}"}]}
        value = message.pack(custom_id, body=body, **changes)
        if kind == "forged":
            self.strays += 1
            return [self._record(value, partition, key=b"not the app's key")]
        if dropped_in is None:
            self.jobs[custom_id] = kind
        else:
            self.dropped.add(custom_id)
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

    def make_long(self, _job_id):
        """STORE -> ROUTE, and from CLAIM -> ROUTE who gets it after that"""
        return {"text": "too long for that one", "model": "short"}, 1

    def make_retried(self, _job_id):
        """STORE -> RETRY -> THROTTLE"""
        return {"text": "[[sim: status=409 retry-after=3 times=1 latency=0]] again",
                "model": "flaky"}, 1

    def make_parked(self, _job_id):
        """STORE -> PARK -> SETTLED, and in the next feed THROTTLE -> PARK -> SETTLED"""
        self.parked += 1
        status = 429 if self.parked % PARTITIONS == 0 else 409
        away = f"[[sim: status={status} retry-after=6 times=1 latency=0]] " * (self.feeds % 2)
        return {"text": away + "later", "model": f"later-{(self.feeds - 1) // 2 % TURNS}"}, 1

    def make_unparkable(self, job_id):
        """PARK -> STORE, once and for all"""
        self.world.rows("INSERT INTO never_parked VALUES (%s)", job_id)
        return {"text": "[[sim: status=429 retry-after=6 latency=0]] later", "model": "never"}, 1

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

    # ---- jobs whose partition is dropped

    def make_dropped(self, _job_id):
        """CLAIM -> BURY where the worker has not heard of it yet, else FETCHED -> BURY"""
        return {"text": "its partition has just gone", "dropped_in": 0}, 1

    def make_droppedcall(self, _job_id):
        """STORE -> BURY: the partition goes with the next feed, while it runs"""
        return {"text": "[[sim: latency=3s]] its partition goes while it runs", "dropped_in": 1}, 1

    def make_droppedlane(self, _job_id):
        """THROTTLE -> BURY: one is called, the partition of those behind it goes meanwhile"""
        return {"text": "[[sim: latency=6s]] its partition goes while it waits", "model": "doomed",
                "dropped_in": 1}, 1

    # ---- jobs that another worker was at: its rows are made by hand

    def _owner(self, lease_s):
        """A worker with a lease of so many seconds; none: it is fenced."""
        return self.world.value(
            "INSERT INTO worker (host, pid, build, lease_until, fenced) VALUES"
            " ('elsewhere', 1, 'other', now() + %s * interval '1 s', %s) RETURNING worker_id",
            lease_s, lease_s <= 0)

    def _claimed(self, job_id, lease_s):
        claimed = self.world.rows(
            "INSERT INTO call (job_id, batch_id, worker_id, model_version_id, endpoint_id, number,"
            " kind) SELECT %s, %s, %s, v.model_version_id, v.endpoint_id, 1, 1"
            " FROM model_version v JOIN endpoint e USING (endpoint_id) WHERE e.name = 'at-busy'"
            " RETURNING number", job_id, self.message.batch_id, self._owner(lease_s))
        assert claimed == [(1,)], "no worker has told Postgres of its models yet"

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
        self.world.seal(self.message, len(self.jobs))

    def check_endings(self):
        ended = {custom_id: row["status"] if row["status"] != "dead" else f"dead {row['class']}"
                 for custom_id, row in self.world.results(self.message.batch_id).items()}
        assert ended.keys() == self.jobs.keys()
        for custom_id, kind in self.jobs.items():
            assert ended[custom_id] in self.ENDINGS.get(kind, {"succeeded"}), (custom_id,
                                                                              ended[custom_id])
        letters = self.world.letters()
        old = {msgpack.unpackb(bytes(letter["payload"]))["custom_id"] for letter in letters
               if "oldest results kept" in letter["reason"]}
        assert len(letters) - len(old) == self.strays
        ended = {custom_id for custom_id, in self.world.rows(
            "SELECT custom_id FROM result WHERE custom_id LIKE 'dropped%'")}
        assert old | ended == self.dropped  # and both where the record came again after its end
