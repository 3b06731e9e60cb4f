"""The worker's statements on big tables, prepared when these were empty: none may read a whole
table, for that is how a worker that was fast on Monday stands still on Friday.

The statements and settings are the worker's own (sqldump prints them). Plans are looked at twice:
as they were prepared, and after ANALYZE has told the planner how big everything has become.
"""
import json
import re
import time

import psycopg2
import pytest

from harness import TOOLS, Database, run

BIG = 1_000_000
TABLES = ("result", "call", "parked", "dead_letter", "worker", "batch", "progress",
          "limit_share")
# Read an index in its order up to a LIMIT; a partial index of the few rows that it holds (workers
# alive, batches cancelled, parked rows taken); or on purpose all (the roll-up, by one worker now and
# then; the shares of limits, by the keeper and by who stops).
WITHOUT_CONDITION = {"due", "letters", "fence_dead", "cancelled", "free_taken", "roll_up",
                     "figures", "others_wait", "shares", "leave"}


def fill(cursor):
    """The week of now, the one before and the one after, evenly; keys in random order."""
    start = int(time.time() * 1000) - 6 * 86400 * 1000
    job = ("(lpad(to_hex(%s::bigint + (random() * 500000000)::bigint), 12, '0')"
           " || '7' || substr(md5(i::text), 1, 19))::uuid" % start)
    batch = "(lpad(to_hex(i %% 1000), 12, '0') || '7000800000000000' || '0000')::uuid".replace("%%", "%")
    cursor.execute(f"CREATE TEMP TABLE ids AS SELECT {job} AS job_id, {batch} AS batch_id, i"
                   f" FROM generate_series(1, {BIG}) i")
    cursor.execute(
        "INSERT INTO inferq.result (job_id, batch_id, created_at, generation, status, class,"
        " validation, priority, app, custom_id, url)"
        " SELECT job_id, batch_id, now(), 0, 1, 1, 0, 1, 'a', i::text, '/v1' FROM ids")
    cursor.execute(
        "INSERT INTO inferq.call (job_id, batch_id, worker_id, model_version_id, endpoint_id,"
        " number, kind, done_at, class)"
        " SELECT job_id, batch_id, i % 500, 1, 1, 1, 1,"
        " CASE WHEN i % 1000 > 0 THEN now() END, CASE WHEN i % 1000 > 0 THEN 1 END FROM ids")
    cursor.execute(
        "INSERT INTO inferq.parked (job_id, batch_id, next_at, deadline_at, wait_key, priority,"
        " number, attempts, reasks, waited_us, model_us, reason, payload, taken_by)"
        " SELECT job_id, batch_id, now() + (i % 1000 - 500) * interval '1 second',"
        " CASE WHEN i % 7 = 0 THEN now() END, i % 5, i % 3, 1, 0, 0, 0, 0, 0, '',"
        " CASE WHEN i % 11 = 0 THEN i % 500 END FROM ids WHERE i <= 100000")
    cursor.execute(
        "INSERT INTO inferq.dead_letter (source, job_id, class, reason, payload, published_at)"
        " SELECT int8send(i), job_id, 10, '', '', CASE WHEN i % 100 > 0 THEN now() END FROM ids"
        " WHERE i <= 100000")
    cursor.execute("INSERT INTO inferq.worker (host, pid, build, lease_until, fenced)"
                   " SELECT 'h', 1, 'b', now(), i > 20 FROM generate_series(1, 2000) i")
    cursor.execute("INSERT INTO inferq.batch (batch_id, app, name, created_ms, cancel_requested_at)"
                   " SELECT DISTINCT batch_id, 'a', batch_id::text, 0,"
                   " CASE WHEN i % 1000 = 7 THEN now() END FROM ids WHERE i <= 1000")
    cursor.execute("INSERT INTO inferq.limit_rule (scope, key, dimension, of_catalogue, changed_by)"
                   " SELECT 1, 'e@' || i, 1, 100, 't' FROM generate_series(1, 20) i")
    cursor.execute("INSERT INTO inferq.limit_share (limit_id, worker_id, asks, want, need, in_use,"
                   " seen, wants) SELECT limit_id, i, 1, 1, 1, 1, 1, ''"
                   " FROM inferq.limit_rule, generate_series(1, 1000) i")
    cursor.execute("INSERT INTO inferq.progress (batch_id, status, n)"
                   " SELECT batch_id, 1, 1 FROM ids WHERE i <= 100000")


def prepare(connection, dump, kind):
    """Like a worker's connection: its settings, its statements."""
    cursor = connection.cursor()
    for setting in dump["sync" if kind != "keep" else "keep"]:
        cursor.execute(setting)
    for statement in dump["statements"]:
        if statement["connection"] == kind:
            cursor.execute(f"PREPARE {statement['name']} AS {statement['sql']}")
    return cursor


@pytest.fixture(scope="module")
def prepared():
    """(statements, {connection's kind: its cursor}); prepared on empty tables, which then fill."""
    dump = json.loads(run(TOOLS / "sqldump").stdout)
    database = Database(f"plans{time.time_ns() % 10**9}")
    connections = {}
    try:
        for kind in ("claim", "store", "keep"):
            connections[kind] = database._connect(database.name)
        cursors = {kind: prepare(c, dump, kind) for kind, c in connections.items()}
        for statement in dump["statements"]:  # planned, as a worker's first flush does
            explain(cursors, statement)
        with connections["claim"].cursor() as cursor:
            fill_connection = database._connect(database.name)
            fill(fill_connection.cursor())
            cursor.execute("SELECT 1")
        yield dump["statements"], cursors, fill_connection
        fill_connection.close()
    finally:
        for connection in connections.values():
            connection.close()
        database.drop()


def explain(cursors, statement):
    """The generic plan: it does not depend on the values, so NULLs do."""
    count = max((int(n) for n in re.findall(r"\$(\d+)", statement["sql"])), default=0)
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    cursor = cursors[statement["connection"]]
    cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {statement['name']}{values}")
    return cursor.fetchone()[0][0]["Plan"]


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def table_of(node):
    """The table a node reads, its partitions under the parent's name."""
    return re.sub(r"_\d{8}$", "", node.get("Relation Name", ""))


def whole_reads(statement, plan):
    """What of the plan reads a whole table."""
    for node in nodes(plan):
        table = table_of(node)
        if table not in TABLES:
            continue
        if node["Node Type"] == "Seq Scan":
            yield f"sequential scan of {table}"
        elif (node["Node Type"].startswith("Index") and "Index Cond" not in node
              and statement["name"] not in WITHOUT_CONDITION):
            yield f"index scan of {table} without a condition"
        elif node["Node Type"].startswith("Bitmap"):
            yield f"bitmap scan of {table}"


def bad_plans(prepared):
    statements, cursors, _ = prepared
    read = set()
    for statement in statements:
        plan = explain(cursors, statement)
        read |= {table_of(n) for n in nodes(plan)}
        for problem in whole_reads(statement, plan):
            yield f"{statement['name']}: {problem}"
    missing = {"result", "call", "parked", "worker"} - read
    assert not missing, f"these plans read no {missing}: the test looks at the wrong thing"


def test_plans_prepared_when_empty_read_no_whole_table(prepared):
    assert list(bad_plans(prepared)) == []


def test_plans_after_analyze_read_no_whole_table(prepared):
    prepared[2].cursor().execute("ANALYZE")
    assert list(bad_plans(prepared)) == []


def test_the_test_would_see_a_sequential_scan(prepared):
    """A known-bad statement, under the same settings."""
    _, cursors, _ = prepared
    statement = {"name": "bad", "connection": "claim",
                 "sql": "SELECT count(*) FROM inferq.result WHERE custom_id = $1"}
    try:
        cursors["claim"].execute(f"PREPARE bad AS {statement['sql']}")
    except psycopg2.errors.DuplicatePreparedStatement:
        pass
    assert any("sequential scan of result" in p
               for p in whole_reads(statement, explain(cursors, statement)))


def test_reports_in_parallel_survive_replies_that_are_none(prepared):
    """A report over many results is what Postgres likes to run in parallel, and the answer is read out
    of a reply under an exception handler, which it forbids there."""
    with prepared[2].cursor() as cursor:
        cursor.execute("SET search_path = inferq; SET max_parallel_workers_per_gather = 2;"
                       " SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
        cursor.execute("UPDATE result SET body = convert_to(CASE custom_id WHEN '7' THEN %s ELSE '{' END,"
                       " 'UTF8'), url = '/v1/chat/completions' WHERE custom_id IN ('7', '8')",
                       ('{"choices":[{"message":{"content":"seven"}}]}',))
        cursor.execute("SELECT custom_id, answer FROM result_text WHERE custom_id IN ('7', '8') ORDER BY 1")
        assert cursor.fetchall() == [("7", "seven"), ("8", None)]
