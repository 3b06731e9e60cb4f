"""The files under deploy/ against each other and against the programs: whatever one of them names,
the other has. What their own checkers say of them is said by the gate `deploy` (tests/gates/deploy),
and what Prometheus makes of a worker's metrics by test_deploy_metrics.py.
"""
import configparser
import ctypes
import ctypes.util
import json
import re
import shlex
import shutil
import uuid

import pytest
import yaml

from harness import BIN, LANES, ROOT, TOOLS, Database, run, wait_for
from test_docs import anchors, help_of

DEPLOY = ROOT / "deploy"
RULES = {path.name: [rule for group in yaml.safe_load(path.read_text())["groups"]
                     for rule in group["rules"]]
         for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml"))}
ALERTS = {rule["alert"]: (name, rule) for name, rules in RULES.items() for rule in rules
          if "alert" in rule}


# ---- alerts and runbooks ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def database():
    made = Database(f"deploy_{uuid.uuid4().hex[:12]}")
    yield made
    made.drop()


def alert_tests(name):
    """What promtool is asked about the alerts of this file of rules."""
    content = yaml.safe_load((DEPLOY / "prometheus" / "tests" / name).read_text())
    return [case for test in content["tests"] for case in test.get("alert_rule_test", [])]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_to_fire_and_to_keep_silent(alert):
    cases = [c for c in alert_tests(ALERTS[alert][0]) if c["alertname"] == alert]
    assert any(c["exp_alerts"] for c in cases), "no series makes it fire"
    assert any(not c["exp_alerts"] for c in cases), "no series leaves it silent"


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_runbook(alert):
    rule = ALERTS[alert][1]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / path).read_text()
    assert anchor == alert.lower() and anchor in anchors(text)
    section = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    for part in ("**Means** ", "**Look** ", "**Do** "):
        assert part in section, part


def test_runbooks_speak_of_no_alert_that_is_gone():
    pages = [p for p in (DEPLOY / "runbooks").glob("*.md") if p.name != "README.md"]
    written = {head for page in pages
               for head in re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE)}
    assert written == set(ALERTS)
    for page in pages:
        assert set(re.findall(r"\bInferq\w+", page.read_text())) <= set(ALERTS), page.name
        assert f"({page.name})" in (DEPLOY / "runbooks" / "README.md").read_text()


# ---- the dashboard ------------------------------------------------------------------------------

DASHBOARD = json.loads((DEPLOY / "grafana" / "inferq.json").read_text())


def test_panels_lie_beside_each_other():
    taken = {}
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] and grid["x"] + grid["w"] <= 24, panel["title"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_panels_are_sound():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {v["name"] for v in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) <= variables
    for panel in panels:
        if panel["type"] == "row":
            continue
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references), panel["title"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]


# ---- programs, flags, settings, variables -------------------------------------------------------

CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
UNIT = (DEPLOY / "systemd" / "inferq-worker@.service").read_text()
MANIFESTS = {(m["kind"], m["metadata"]["name"]): m
             for folder in ("base", "keda") for path in (DEPLOY / "k8s" / folder).glob("*.yaml")
             for m in yaml.safe_load_all(path.read_text()) if m.get("metadata")}
WORKER_POD = MANIFESTS["Deployment", "inferq-worker"]["spec"]["template"]
JOB_POD = MANIFESTS["Job", "inferq-migrate"]["spec"]["template"]
UPKEEP_POD = MANIFESTS["CronJob", "inferq-upkeep"]["spec"]["jobTemplate"]["spec"]["template"]
UPKEEP_UNIT = (DEPLOY / "systemd" / "inferq-upkeep.service").read_text()
SCALED = MANIFESTS["ScaledObject", "inferq-worker"]["spec"]
KAFKA_CONF = DEPLOY / "compose" / "kafka.conf"


def containers():
    pods = (WORKER_POD, JOB_POD, UPKEEP_POD)
    return [c for pod in pods for c in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]]


def unit(key):
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


# How each kind of deployment starts a worker: (its directory, its arguments).
STARTS = {
    "compose": ("compose", SERVICES["worker"]["command"]),
    "systemd": ("systemd", shlex.split(unit("ExecStart")[0])[1:]),
    "kubernetes": ("k8s/base", WORKER_POD["spec"]["containers"][0]["args"]),
}


def worker_settings(kind):
    """What the worker itself makes of its arguments and files: {setting: value}."""
    folder, arguments = STARTS[kind]
    there = {"/etc/inferq/kafka.conf": str(KAFKA_CONF), "/run/secrets/inferq/kafka.conf": str(KAFKA_CONF),
             "%d/kafka.conf": str(KAFKA_CONF), "/etc/inferq/": f"{DEPLOY / folder}/", "%i": "9464"}
    words = []
    for word in arguments:
        for name, path in there.items():
            if name in word:
                word = word.replace(name, path)
                break
        words.append(word)
    done = run(BIN / "inferq-worker", *words, "--print-config")
    return dict(re.findall(r"^([a-z][\w.]*) = (.*)$", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("kind", STARTS)
def test_workers_start_with_settings_that_exist(kind):
    settings = worker_settings(kind)
    assert settings["catalogue"].endswith("catalogue.yaml")
    assert settings["listen"].endswith(":9464")
    assert settings["kafka.bootstrap.servers"]


@pytest.mark.parametrize("folder", ["compose", "k8s/base"])
def test_catalogues_load(folder, tmp_path):
    document = tmp_path / "a.txt"
    document.write_text("some words")
    done = run(BIN / "inferq-submit", "--dry-run", "--app", "docs", "--model", "small", "--prompt",
               "{document}", "--catalogue", DEPLOY / folder / "catalogue.yaml", document,
               env={"MODEL_URL": "http://modelsim:8000"})
    assert "small@1" in done.stdout + done.stderr


def seconds(text):
    number, of = re.fullmatch(r"(\d+)(s|m|min)?", text).groups()
    return int(number) * (60 if of in ("m", "min") else 1)


def test_nobody_kills_a_worker_that_drains():
    """Aborted calls may take 10 s, leaving Kafka 10 s, Postgres some more."""
    grace = {
        "compose": seconds(SERVICES["worker"]["stop_grace_period"]),
        "systemd": seconds(unit("TimeoutStopSec")[0]),
        "kubernetes": WORKER_POD["spec"]["terminationGracePeriodSeconds"],
    }
    for kind, given in grace.items():
        assert given == seconds(worker_settings(kind)["drain.timeout"]) + 30, kind


def test_restarts_agree_with_the_exit_codes(tmp_path):
    said = " ".join(help_of("inferq-worker", "--help").split())
    assert "0 stopped, 2 usage or bad input, 3 a server cannot be reached, 4 broken" in said
    assert unit("Restart") == ["on-failure"] and unit("RestartPreventExitStatus") == ["2"]
    catalogue = DEPLOY / "compose" / "catalogue.yaml"
    run(BIN / "inferq-worker", "--catalogue", tmp_path / "none.yaml", ok=(2,))
    run(BIN / "inferq-worker", "--catalogue", catalogue, ok=(3,),
        env={"MODEL_URL": "http://127.0.0.1:1", "PGHOST": "127.0.0.1", "PGPORT": "1"})


def test_memory_limits_hold_the_budget():
    def mib(text):
        number, of = re.fullmatch(r"(\d+)(Mi|M|Gi|G|MiB|GiB)", text).groups()
        return int(number) * (1024 if of[0] == "G" else 1)
    limits = {"systemd": unit("MemoryMax")[0],
              "kubernetes": WORKER_POD["spec"]["containers"][0]["resources"]["limits"]["memory"]}
    for kind, limit in limits.items():  # test_crash_limits.py: 80 MiB beside the budget at most
        assert mib(limit) >= mib(worker_settings(kind)["memory.max_bytes"]) + 80, kind


def inferq_commands():
    """{where: arguments} of every start of the front command."""
    found = {name: s["command"] for name, s in SERVICES.items()
             if s.get("image", "").startswith("${INFERQ_IMAGE") and "command" in s}
    found.update({c["name"]: c["args"] for c in containers() if c["image"] == "inferq"})
    program, *words = shlex.split(re.search("^ExecStart=(.*)$", UPKEEP_UNIT, re.MULTILINE)[1])
    assert program == "/usr/bin/inferq"
    found["inferq-upkeep.service"] = words
    return found


def test_the_timer_starts_the_upkeep_and_is_installed():
    timer = (DEPLOY / "systemd" / "inferq-upkeep.timer").read_text()
    assert re.search(r"^OnCalendar=", timer, re.MULTILINE) and "Unit=" not in timer, "its namesake"
    installed = (DEPLOY / "systemd" / "install").read_text()
    for name in ("inferq-upkeep.service", "inferq-upkeep.timer"):
        assert f"/usr/lib/systemd/system/{name}" in installed


def test_commands_and_flags_exist():
    commands = inferq_commands()
    assert {words[0] for words in commands.values()} == {"migrate", "topics", "upkeep"}
    for where, words in commands.items():
        said = help_of("inferq", "help", words[0])
        for flag in [w for w in words if w.startswith("--")]:
            assert re.search(rf"^  {flag} ", said, re.MULTILINE), (where, flag)
    said = run(TOOLS / "modelsim", "--help").stdout
    for flag in [w for w in SERVICES["modelsim"]["command"] if w.startswith("--")]:
        assert re.search(rf"^  {flag} ", said, re.MULTILINE), flag


class ConnInfoOption(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label",
                                                     "dispchar")] + [("dispsize", ctypes.c_int)]


def libpq_variables():
    """libpq's own list, and the one that says where the list of services is."""
    libpq = ctypes.CDLL(ctypes.util.find_library("pq"))
    libpq.PQconndefaults.restype = ctypes.POINTER(ConnInfoOption)
    options, found = libpq.PQconndefaults(), {"PGSERVICEFILE"}
    for i in range(1000):
        if options[i].keyword is None:
            return found
        if options[i].envvar:
            found.add(options[i].envvar.decode())
    raise AssertionError("an endless list")


def known_variables():
    keys = re.findall(r"^\| `([\w.]+)`", help_of("inferq-worker", "--markdown"), re.MULTILINE)
    keys += re.findall(r"^  ([\w.]+)  \(", help_of("inferq", "help", "config"), re.MULTILINE)
    known = {"INFERQ_" + key.upper().replace(".", "_") for key in keys}
    known |= set(re.findall(r"\((?:also|or) (INFERQ_\w+)\)", help_of("inferq", "help", "migrate")))
    assert {"INFERQ_LISTEN", "INFERQ_CONFIG"} <= known
    return known | libpq_variables() | {"KAFKA_BOOTSTRAP_SERVERS"}


def test_variables_exist():
    ours = [s for s in SERVICES.values() if "INFERQ_" in s.get("image", "")] + [SERVICES["logins"]]
    named = {name for service in ours for name in service.get("environment", {})}
    named |= {entry["name"] for c in containers() for entry in c.get("env", [])}
    named |= {word.partition("=")[0] for line in unit("Environment") for word in line.split()}
    named |= set(re.findall(r"^ENV (\w+)=", CONTAINERFILE, re.MULTILINE))
    catalogues = "".join(path.read_text() for path in DEPLOY.glob("*/catalogue.yaml"))
    assert named >= {"PGSERVICE", "PGSERVICEFILE", "INFERQ_LISTEN", "MODEL_URL"}
    assert named <= known_variables() | set(re.findall(r"\$\{(\w+)\}", catalogues))


# ---- the images ---------------------------------------------------------------------------------

def packages_of(*programs):
    """The Debian packages of the libraries that these programs name."""
    needed = set(re.findall(r"NEEDED +(\S+)", run("objdump", "-p", *programs).stdout))
    owners = run("dpkg", "-S", *[f"*-linux-gnu/{library}" for library in sorted(needed)]).stdout
    assert all(f"/{library}\n" in owners for library in needed)
    return {line.partition(":")[0] for line in owners.splitlines()}


def test_the_image_holds_the_libraries_and_no_more():
    runtime = CONTAINERFILE.partition(" AS inferq\n")[2].partition("rm -rf")[0]
    listed = set(re.findall(r"^ +([a-z][\w.+-]+) \\$", runtime, re.MULTILINE))
    programs = ["inferq", "inferq-submit", "inferq-worker", "modelsim"]
    needed = packages_of(*(TOOLS / name for name in programs)) - {"libc6"}
    assert listed - {"ca-certificates", "curl"} == needed


def test_the_image_builds_every_program_from_what_it_is_sent(tmp_path):
    """make, on what .dockerignore lets through, finds all that it needs to compile the programs."""
    built = re.findall(r"^ +(build/dist/bin/\S+)", CONTAINERFILE, re.MULTILINE)
    installed = {path.name for path in TOOLS.glob("inferq*")}
    assert {path.rpartition("/")[2] for path in built} == installed | {"modelsim"}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    for sent in [line[1:] for line in lines if line.startswith("!")]:
        target = tmp_path / sent
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / sent).is_dir() else shutil.copy)(ROOT / sent, target)
    for copied in re.findall(r"^COPY (?!--from)(\S+) ", CONTAINERFILE, re.MULTILINE):
        assert (tmp_path / copied).exists(), copied
    planned = run("make", "-n", "-C", tmp_path, "VARIANT=dist", "PREFIX=/usr", "BUILD=build", *built,
                  env={"MAKEFLAGS": ""}).stdout
    assert planned.count("  LINK  ") == len(built)


def test_images_run_as_the_user_that_the_manifests_name():
    user, group = re.search(r"^USER (\d+):(\d+)$", CONTAINERFILE, re.MULTILINE).groups()
    assert f"--uid {user} " in CONTAINERFILE
    for pod in (WORKER_POD, JOB_POD):
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
        assert context["runAsNonRoot"] and context["fsGroup"] == int(group)
    for line in re.findall(r"^(?:ENTRYPOINT|CMD|    CMD) (.*)$", CONTAINERFILE, re.MULTILINE):
        assert json.loads(line)[0].startswith(("/", "--")), "a shell would not pass signals on"


# ---- documents ----------------------------------------------------------------------------------

@pytest.mark.parametrize("page", sorted(DEPLOY.glob("**/*.md")), ids=lambda p: str(p.relative_to(DEPLOY)))
def test_links_of_documents_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_commands_of_runbooks_exist():
    spans = {span for page in (DEPLOY / "runbooks").glob("*.md")
             for span in re.findall(r"`inferq ([^`]+)`", page.read_text())}
    assert len(spans) >= 8
    for span in spans:
        words = re.match(r"[a-z]+(?: [a-z]+)?(?= |$)", span)[0].split()
        said = help_of("inferq", "help", *words)
        for flag in re.findall(r"--[a-z-]+", span):
            assert re.search(rf"^  {flag} ", said, re.MULTILINE), (span, flag)


def test_queries_of_runbooks_run(database):
    queries = [q for page in (DEPLOY / "runbooks").glob("*.md")
               for q in re.findall(r"`(SELECT [^`]+)`", page.read_text())]
    assert len(queries) >= 3
    database.rows("GRANT inferq_operator TO CURRENT_USER")
    database.rows("SET ROLE inferq_operator")
    for query in queries:
        database.rows(query)


# ---- what refers to what ------------------------------------------------------------------------

def test_kustomizations_name_what_is_there():
    for folder in ("base", "keda"):
        made = yaml.safe_load((DEPLOY / "k8s" / folder / "kustomization.yaml").read_text())
        for resource in made["resources"]:
            assert (DEPLOY / "k8s" / folder / resource).exists(), resource
        listed = set(made["resources"]) | {"kustomization.yaml"} | {
            file for one in made.get("configMapGenerator", []) for file in one["files"]}
        assert {p.name for p in (DEPLOY / "k8s" / folder).iterdir()} <= listed
    base = yaml.safe_load((DEPLOY / "k8s" / "base" / "kustomization.yaml").read_text())
    assert {image["name"] for image in base["images"]} == {c["image"] for c in containers()}
    volumes = {v["name"]: v for v in WORKER_POD["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == base["configMapGenerator"][0]["name"]


def test_selectors_find_the_pods():
    labels = WORKER_POD["metadata"]["labels"].items()
    for kind, name in (("Deployment", "inferq-worker"), ("PodDisruptionBudget", "inferq-worker")):
        assert MANIFESTS[kind, name]["spec"]["selector"]["matchLabels"].items() <= labels
    service = MANIFESTS["Service", "inferq-worker-metrics"]
    assert service["spec"]["selector"].items() <= labels
    policy = MANIFESTS["NetworkPolicy", "inferq"]["spec"]["podSelector"]["matchLabels"].items()
    assert policy <= labels and policy <= JOB_POD["metadata"]["labels"].items()
    for spread in WORKER_POD["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= labels
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "kubernetes.yml").read_text())
    found = scrape["scrape_configs"][0]["dns_sd_configs"][0]
    name, namespace = (service["metadata"][key] for key in ("name", "namespace"))
    assert found["names"] == [f"{name}.{namespace}.svc.cluster.local"]
    port = WORKER_POD["spec"]["containers"][0]["ports"][0]
    assert port["containerPort"] == found["port"] == service["spec"]["ports"][0]["port"]
    assert worker_settings("kubernetes")["listen"] == f":{found['port']}"


def test_scaling_follows_the_topics_of_the_workers():
    settings = worker_settings("kubernetes")
    lags = [t["metadata"] for t in SCALED["triggers"] if t["type"] == "kafka"]
    assert [lag["topic"] for lag in lags] == [f"{settings['prefix']}.jobs.{lane}" for lane in LANES]
    assert {lag["consumerGroup"] for lag in lags} == {settings["group"]}
    words = inferq_commands()["topics"]
    assert SCALED["maxReplicaCount"] <= int(words[words.index("--partitions") + 1])
    assert SCALED["scaleTargetRef"]["name"] == MANIFESTS["Deployment", "inferq-worker"]["metadata"]["name"]
    logins = {t["authenticationRef"]["name"] for t in SCALED["triggers"]}
    assert logins == {name for kind, name in MANIFESTS if kind == "TriggerAuthentication"}


def test_composed_files_are_there(tmp_path):
    """Mounted files exist; `secrets` makes the others, with a service of libpq's for each that is named."""
    for folder in ("compose", "prometheus"):
        shutil.copytree(DEPLOY / folder, tmp_path / folder,
                        ignore=shutil.ignore_patterns("secrets.d", "work"))
    shutil.copy(DEPLOY / "logins.sql", tmp_path)
    made = tmp_path / "compose"
    run(made / "secrets")
    before = (made / "secrets.d" / "pg_service").read_bytes()
    run(made / "secrets")
    assert (made / "secrets.d" / "pg_service").read_bytes() == before, "it keeps what it made"
    assert (made / "secrets.d").stat().st_mode & 0o77 == 0
    for secret in COMPOSE["secrets"].values():
        assert (made / secret["file"]).stat().st_size > 0
    named = COMPOSE["volumes"].keys()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
            assert source in named or (made / source).exists(), volume
    services = configparser.ConfigParser()
    services.read(made / "secrets.d" / "pg_service")
    used = {s["environment"]["PGSERVICE"] for s in SERVICES.values()
            if "PGSERVICE" in s.get("environment", {})}
    assert used == set(services.sections())
    assert {services[s]["user"] for s in used - {"owner"}} <= set(
        re.findall(r"'(inferq_login_\w+)'", (DEPLOY / "logins.sql").read_text()))


def test_kafka_accepts_the_settings_that_it_is_given(tmp_path):
    """The broker's image turns KAFKA_A_B into a.b; Kafka's own tool reads them and formats a directory."""
    jars = ROOT / ".local" / "kafka" / "libs"
    if not jars.exists():
        pytest.skip("no Kafka here: librdkafka's mock cluster stands in")
    environment = SERVICES["kafka"]["environment"]
    lines = [f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}"
             for name, value in {**environment, "KAFKA_LOG_DIRS": tmp_path / "data"}.items()]
    (tmp_path / "server.properties").write_text("\n".join(lines))
    done = run("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*",
               "kafka.tools.StorageTool", "format", "-t", "6Jw0p1vkQHGm3k1Wc2d3zA", "-c",
               tmp_path / "server.properties")
    assert "Formatting" in done.stdout
    assert (tmp_path / "data" / "meta.properties").exists()


# ---- logins, on a real Postgres -----------------------------------------------------------------

@pytest.fixture(scope="module")
def logins(worlds, tmp_path_factory):
    """(world, the variables of each login): made by logins.sql, found by libpq in a file of services."""
    world = worlds()
    secrets = tmp_path_factory.mktemp("secrets")
    names = ("worker", "operator", "scaler")
    for name in names:
        (secrets / f"{name}-password").write_text(f"the-{name}s-password")
    for _ in range(2):  # again: it only sets the passwords
        run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"secrets={secrets}", "-f",
            DEPLOY / "logins.sql", env=world.env)
    host, port = (world.value(f"SELECT {what}") for what in ("host(inet_server_addr())",
                                                             "inet_server_port()"))
    (secrets / "pg_service").write_text("".join(
        f"[{name}]\nhost={host}\nport={port}\ndbname={world.name}\nuser=inferq_login_{name}\n"
        f"password=the-{name}s-password\n" for name in names))
    nothing = {variable: "" for variable in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
                                             "PGPASSFILE")}
    return world, {name: {**nothing, "PGSERVICE": name, "PGSERVICEFILE": str(secrets / "pg_service")}
                   for name in names}


def asked(login, sql, ok=(0,)):
    done = run("psql", "-X", "-A", "-t", "-c", sql, env=login, ok=ok)
    return done.stdout.strip() or done.stderr


def test_each_login_does_its_work(logins):
    """A worker and a person who submits, with nothing but what logins.sql grants them."""
    world, login = logins
    world.start_worker(env=login["worker"])
    assert world.wait_ended(world.ask("one", "two", env=login["operator"]))["succeeded"] == 2
    assert "pipe" in world.inferq("batch", "list", env=login["operator"]).stdout
    assert "permission denied" in asked(login["worker"], "DELETE FROM inferq.result", ok=(1,))


def test_the_scaler_counts_due_jobs_and_sees_no_payload(logins):
    world, login = logins
    query = next(t for t in SCALED["triggers"] if t["type"] == "postgresql")["metadata"]["query"]
    assert asked(login["scaler"], query) == "0"
    world.ask("[[sim: status=429 retry-after=600]] later",
              "[[sim: status=429 retry-after=600]] later as well", env=login["operator"])
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 2, what="two parked jobs")
    assert asked(login["scaler"], query) == "0", "parked, and not due"
    world.stop_workers()
    world.rows("UPDATE parked SET next_at = now() - interval '1 s', taken_by = NULL")
    assert asked(login["scaler"], query) == "2"
    assert "permission denied" in asked(login["scaler"], "SELECT payload FROM inferq.parked", ok=(1,))
