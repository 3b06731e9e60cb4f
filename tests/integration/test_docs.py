"""The README against the programs, the schema and the tests: what it says is so, or a test fails.

Happy path: each table between markers is what the code prints, each query runs on a migrated
database, each flag stands in its program's help, each link and each named test exists. After a
change of settings or metrics, `tests/integration/test_docs.py` as a program (INFERQ_BIN set, or
build/bin) writes the tables anew.
"""
import csv
import json
import os
import re
import subprocess
import sys
import uuid

import pytest

from harness import BIN, ROOT, SLOW, TOOLS, Database, free_port, run, wait_for

README = ROOT / "README.md"
EXAMPLE_CONF = ROOT / "deploy" / "local" / "worker.example.conf"
EXAMPLE_CATALOGUE = ROOT / "deploy" / "local" / "catalogue.example.yaml"
GUARANTEES = ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"]
# `inferq batch seal --total`: the command's words, and what follows them on the line.
COMMAND = re.compile(r"(?<![\w./-])(inferq-worker|inferq-submit|"
                     r"inferq(?: (?:submit|batch|results|dead|explain|migrate|topics|top|cost|worker"
                     r"|endpoint|doctor|upkeep|rewind|skip|lane|limit)(?: (?:list|show|watch|cancel|seal|requeue"
                     r"|edit|accept|discard|drain|pause|resume|add|assign|remove|set|clear))?)?)\b([^`\n]*)")
SETTING = re.compile(r"^  (\S+)  \((.*)\)\n +(.*)$", re.MULTILINE)
METRIC = re.compile(r'\{"((?:inferq|process)_\w+)",\s*METRIC_(\w+),\s*\{([^}]*)\},\s*\w+,\s*((?:"[^"]*"\s*)+)\}')


def readme():
    return README.read_text(encoding="utf-8")


# ---- tables that the code prints ----------------------------------------------------------------

def help_of(*words):
    return run(BIN / words[0], *words[1:]).stdout


def plain_settings(text):
    """A table made of the settings as --help lists them: inferq-submit and inferq have few."""
    lines = ["| Key | Value | Meaning |", "|---|---|---|"]
    for key, value, meaning in SETTING.findall(text):
        if key != "kafka.*":
            cells = (f"`{key}`", value, meaning.rstrip("."))
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    assert len(lines) > 2, "no settings found in the help"
    return "\n".join(lines)


def submit_settings():
    return plain_settings(help_of("inferq-submit", "--help").partition("\nSettings")[2])


def doctor_table():
    """The checks by their stable ids, as `inferq doctor --list` knows them."""
    lines = ["| Check | Finds | Remedy |", "|---|---|---|"]
    for check in json.loads(help_of("inferq", "doctor", "--list", "--json")):
        cells = (f"`{check['check']}`", check["finds"], check["remedy"])
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    assert len(lines) > 2, "no checks found"
    return "\n".join(lines)


def metric_table():
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for name, kind, labels, parts in METRIC.findall((ROOT / "worker" / "watch_metrics.c").read_text()):
        label_text = ", ".join(f"`{label}`" for label in re.findall(r'"(\w+)"', labels))
        meaning = "".join(re.findall(r'"([^"]*)"', parts))
        lines.append(f"| `{name}` | {kind.lower()} | {label_text} | {meaning} |")
    assert len(lines) > 2, "no metrics found in the source"
    return "\n".join(lines)


TABLES = {
    "settings:inferq-worker": lambda: help_of("inferq-worker", "--markdown").strip(),
    "settings:inferq-submit": submit_settings,
    "settings:inferq": lambda: plain_settings(help_of("inferq", "help", "config")),
    "metrics": metric_table,
    "doctor": doctor_table,
}


def between(name):
    """(start, end) of what stands between the markers of this table."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name.split(':')[0]} -->", readme(), re.DOTALL)
    assert found, f"README.md has no markers for {name}"
    return found.span(1)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_what_the_code_prints(name):
    start, end = between(name)
    assert readme()[start:end].strip() == TABLES[name](), "run tests/integration/test_docs.py"


def test_every_metric_is_found_in_the_source():
    """The pattern that reads watch_metrics.c misses none."""
    source = (ROOT / "worker" / "watch_metrics.c").read_text()
    assert len(METRIC.findall(source)) == len(re.findall(r"^ +\[M_\w+\] =", source, re.MULTILINE))


# ---- programs and their flags -------------------------------------------------------------------

@pytest.mark.parametrize("program", ["inferq", "inferq-submit", "inferq-worker"])
def test_help_and_version(program):
    for flag in ("--help", "--version"):
        done = run(BIN / program, flag)
        assert done.stdout and not done.stderr, (program, flag)


def code_of_readme():
    """All code of the README, a line or a span at a time."""
    text = readme()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + spans


def commands_of_readme():
    found = {}
    for code in code_of_readme():
        for command, rest in COMMAND.findall(code.partition(" #")[0]):
            found.setdefault(command, set()).update(re.findall(r"(--[\w.-]+)", rest))
    return found


def help_for(command):
    words = command.split()
    if command in ("inferq submit", "inferq-submit"):
        return help_of("inferq-submit", "--help")
    if len(words) == 1:
        return help_of(words[0], "--help")
    return help_of("inferq", "help", *words[1:])


def test_every_flag_of_the_readme_stands_in_the_help():
    commands = commands_of_readme()
    assert {"inferq submit", "inferq-worker", "inferq migrate", "inferq topics",
            "inferq batch watch"} <= set(commands)
    missing = []
    for command, flags in commands.items():
        said = help_for(command)
        for flag in flags - {"--kafka.NAME", "--key"}:
            # A setting may be written as a flag, and is listed without the dashes.
            if not re.search(rf"{flag}\b", said) and not re.search(rf"^  {flag[2:]}  \(", said, re.M):
                missing.append((command, flag))
    assert not missing


def test_make_targets_exist():
    said = run("make", "-s", "-C", ROOT, "help").stdout
    for target in set(re.findall(r"\bmake ([a-z]+)", "\n".join(code_of_readme()))) - {"help"}:
        assert re.search(rf"^  {target} ", said, re.MULTILINE), target


# ---- examples -----------------------------------------------------------------------------------

def settings_in(text):
    """{key: (value, whether it is commented out)}"""
    found = {}
    for hidden, key, value in re.findall(r"^(# )?([a-z][\w.]*) = (.*)$", text, re.MULTILINE):
        found[key] = (value, bool(hidden))
    return found


def test_the_example_configuration_loads_and_names_every_setting():
    done = run(BIN / "inferq-worker", "--config", EXAMPLE_CONF, "--print-config")
    example = settings_in(EXAMPLE_CONF.read_text())
    for key, (value, hidden) in example.items():
        if not hidden:
            assert f"\n{key} = {value}\n" in done.stdout, key
    table = help_of("inferq-worker", "--markdown")
    assert set(re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)) <= set(example)


def test_the_example_configuration_shows_the_defaults():
    """What is commented out as a default is the default; examples of text settings are not."""
    example = settings_in(EXAMPLE_CONF.read_text())
    for key, kind, default in re.findall(r"^\| `([\w.]+)` \| (\w+) \| `([^`]*)` \|",
                                         help_of("inferq-worker", "--markdown"), re.MULTILINE):
        value, hidden = example[key]
        if hidden and key != "signature.check":
            assert value == default, (key, kind)


def test_the_example_catalogue_loads(tmp_path):
    document = tmp_path / "a.txt"
    document.write_text("some words")
    done = run(BIN / "inferq-submit", "--dry-run", "--app", "docs", "--model", "large",
               "--prompt", "{document}", "--catalogue", EXAMPLE_CATALOGUE, document,
               env={"MODEL_URL": "http://127.0.0.1:1"})
    assert "large@2025-11" in done.stdout + done.stderr


# ---- tables, queries, classes -------------------------------------------------------------------

@pytest.fixture(scope="module")
def database():
    made = Database(f"docs_{uuid.uuid4().hex[:12]}")
    yield made
    made.drop()


QUERIES = re.findall(r"```sql\n(.*?)```", readme(), re.DOTALL)


def test_there_are_queries():
    assert len(QUERIES) >= 8


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: "-".join(re.findall(r"\w+", q)[1:4]))
def test_queries_run_as_those_who_report(database, query):
    """On empty tables: planned and executed, with no more rights than the role has."""
    role = "inferq_operator" if re.search(r"inferq\.(parked|dead_letter)", query) else "inferq_reader"
    database.rows(f"GRANT {role} TO CURRENT_USER")
    database.rows(f"SET ROLE {role}")
    try:
        assert database.rows(query) == []
    finally:
        database.rows("RESET ROLE")


def test_tables_and_views_exist(database):
    have = {name for name, in database.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'inferq'::regnamespace")}
    section = readme().partition("## What a report reads")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named and named <= have
    views = {name for name, in database.rows(
        "SELECT viewname FROM pg_views WHERE schemaname = 'inferq'")}
    assert views <= named, "a view that the README does not name"


def test_error_classes_are_described(database):
    text = (ROOT / "schemas" / "errors.md").read_text()
    assert "(schemas/errors.md)" in readme()
    for name, in database.rows("SELECT name FROM code WHERE kind = 'class'"):
        said = f"- `{name}`:" in text or f" | {name} | " in text
        assert said, f"schemas/errors.md does not say what {name} is"


def test_each_class_says_who_acts(database):
    """One row for each class, and the commands that rows name exist."""
    text = (ROOT / "schemas" / "errors.md").read_text().split("## What to do, class by class")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))
    assert set(rows) == {name for name, in database.rows("SELECT name FROM code WHERE kind = 'class'")}
    overview = run(BIN / "inferq", "--help").stdout
    commands = set(re.findall(r"`inferq ([a-z]+(?: [a-z]+)?)", text))
    assert len(commands) > 5
    for command in commands:
        assert re.search(rf"^  {command}\b", overview, re.MULTILINE), command


# ---- links, anchors, guarantees -----------------------------------------------------------------

def anchors(text):
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_links_lead_somewhere():
    text = readme()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or (ROOT / path).exists(), link
        assert path or anchor in anchors(text), link


def test_each_guarantee_names_tests_that_exist():
    for guarantee in GUARANTEES:
        row = re.search(rf"^\| {guarantee} \|.*$", readme(), re.MULTILINE)
        assert row, guarantee
        named = re.findall(r"`(test_\w+\.(?:py|c))(?:::(test_\w+))?`", row.group(0))
        assert named, f"{guarantee} names no test"
        for file, test in named:
            sources = list((ROOT / "tests").glob(f"*/{file}"))
            assert sources, f"{guarantee}: there is no {file}"
            if test:
                assert re.search(rf"\b{test}\(", sources[0].read_text()), f"{guarantee}: {test}"


# ---- first steps --------------------------------------------------------------------------------

def first_steps(port):
    """The block as it stands, but for what a test must choose: programs, ports, and when to look."""
    block = re.search(r"## First steps.*?```bash\n(.*?)```", readme(), re.DOTALL).group(1)
    for old, new in {
            "make ": ": ", "PATH=$PWD/build/bin:$PATH": f"PATH={BIN}:{TOOLS}:$PATH",
            "8000": str(port), "127.0.0.1:9465": "127.0.0.1:0",
            "inferq worker list": "until inferq worker list | grep -q '^ *2 '; do sleep 0.2; done"}.items():
        assert old in block, old
        block = block.replace(old, new)
    return "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + block


def test_first_steps_run_as_they_stand(tmp_path):
    name = f"first_{uuid.uuid4().hex[:12]}"
    database = Database(name, migrate=False)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    documents = {"a.txt": b"one two three", "b c \u00fc.md": b"# four", "bad.txt": b"[[sim: status=400]]",
                 "empty.txt": b"", "picture.bin": b"\x89PNG\xff"}
    (tmp_path / "docs").mkdir()
    for file, content in documents.items():
        (tmp_path / "docs" / file).write_bytes(content)
    # To the local stack, the test's servers are the user's own.
    env = {key: value for key, value in os.environ.items() if not key.startswith("INFERQ_STACK")}
    env |= {"PGDATABASE": name, "INFERQ_STACK": name[:20], "INFERQ_PREFIX": name,
            "INFERQ_GROUP": name, "INFERQ_LISTEN": "127.0.0.1:0"}
    try:
        done = subprocess.run(["bash", "-c", first_steps(free_port())], cwd=tmp_path, env=env, text=True,
                              capture_output=True, timeout=180 * SLOW, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "docs/empty.txt: is empty" in said and "docs/picture.bin: not UTF-8" in said
        rows = list(csv.DictReader((tmp_path / "first.csv").open(encoding="utf-8", newline="")))
        assert {row["custom_id"]: row["status"] for row in rows} == {
            "a.txt": "succeeded", "b c \u00fc.md": "succeeded", "bad.txt": "dead"}
        assert "It died after 1 call: the server refused the request as invalid" in said
        assert "4/4: 2 succeeded, 2 dead (1 ran again)" in said
        wait_for(lambda: database.value("SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0,
                 what="both workers have left")
    finally:
        subprocess.run([ROOT / "deploy/local/stack", "destroy"], env=env, check=False)
        database.drop()


# ---- limits, by an example ------------------------------------------------------------------------

def limits_example(port):
    """The block as it stands, but for ports, a tenth of the jobs, and when to look."""
    block = re.search(r"### Limits, by an example.*?```bash\n(.*?)```", readme(), re.DOTALL).group(1)
    for old, new in {
            "8000": str(port), "9465 9466 9467": "0 0 0", "seq 400": "seq 40",
            "search/high 100 ": "search/high 10 ",
            "psql ": "until inferq limit show --json | grep -q '\"workers\": *4'; do sleep 0.2; done; psql ",
            }.items():
        assert old in block, old
        block = block.replace(old, new)
    return ("trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\nset -e\n"
            f"PATH={BIN}:{TOOLS}:$PATH\ninferq migrate && inferq topics\n" + block)


def test_the_example_of_limits_runs_as_it_stands(tmp_path):
    """And the provider has refused nothing, whoever asked how fast."""
    name = f"limits_{uuid.uuid4().hex[:12]}"
    database = Database(name, migrate=False)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    env = {**os.environ, "PGDATABASE": name, "INFERQ_PREFIX": name, "INFERQ_GROUP": name,
           "INFERQ_LISTEN": "127.0.0.1:0"}
    try:
        done = subprocess.run(["bash", "-c", limits_example(free_port())], cwd=tmp_path, env=env, text=True,
                              capture_output=True, timeout=180 * SLOW, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert re.search(r"endpoint:hosted@1 +requests_per_minute +500 +catalogue +490", said)
        assert re.search(r"endpoint:hosted@1 +requests_per_minute +300 +operator +294", said)
        assert re.search(r"app:reports +tokens_per_minute +100000 +catalogue", said)
        assert "It succeeded" in said
        statuses = json.loads(re.search(r'"statuses":(\{.*?\})', said)[1])
        assert statuses.get("200", 0) > 0 and "429" not in statuses
        assert database.value("SELECT of_operator FROM limit_rule WHERE key = 'hosted@1'"
                              " AND dimension = 1") is None
    finally:
        database.drop()


# ---- writing the tables -------------------------------------------------------------------------

def update():
    for name, table in TABLES.items():
        start, end = between(name)
        text = readme()
        README.write_text(text[:start] + table() + "\n" + text[end:], encoding="utf-8")


if __name__ == "__main__":
    update()
    sys.exit(subprocess.call(["git", "diff", "--stat", "--", str(README)]))
