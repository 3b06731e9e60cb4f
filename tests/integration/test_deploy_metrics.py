"""The rules and the dashboard against a running worker: a real Prometheus, with the configuration that
is shipped, scrapes a worker under load and evaluates every expression on what it found.

Happy path: each metric that an expression names is there, has the labels that it uses, and is compared
with values that exist; each rule is evaluated without a complaint; each panel shows something. A
worker that does well raises no alert about itself, and what goes wrong on purpose raises its own.
"""
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import signal
import subprocess
import urllib.parse

import pytest
import yaml

from harness import LANES, ROOT, Message, free_port, model, run, wait_for

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "inferq.json").read_text())
RULES = [rule for path in sorted((PROMETHEUS / "rules").glob("*.yaml"))
         for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$endpoint": ".*", "$instance": ".*"}
# What Prometheus adds to each series, and the series that it makes of alerts.
TARGET_LABELS = {"job", "instance"}
ALERTS_LABELS = TARGET_LABELS | {"alertname", "alertstate", "severity"}


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def filled(text):
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return text


def expressions():
    """{where it stands: expression}, the dashboard's with its variables filled in."""
    found = {}
    for rule in RULES:
        found[rule.get("alert") or rule["record"]] = rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']} ({panel['id']})"] = filled(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert inner, f"variable {variable['name']}: no label_values(...)"
            found[f"variable {variable['name']}"] = f"count by ({inner[2]}) ({filled(inner[1])})"
    return found


EXPRESSIONS = expressions()


def checkers():
    return pathlib.Path(run(DEPLOY / "checkers" / "get", timeout=600).stdout.strip())


class Prometheus:
    """A server of its own, with the shipped configuration but for targets and pace."""

    def __init__(self, tmp_path, worker_port):
        conf = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        conf["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        conf["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{worker_port}"]
        del conf["alerting"]
        shutil.copytree(PROMETHEUS / "rules", tmp_path / "rules")
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(conf))
        program, self.port = checkers() / "prometheus", free_port()
        with open(tmp_path / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                [program, f"--config.file={tmp_path}/prometheus.yml",
                 f"--storage.tsdb.path={tmp_path}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def get(self, path, **parameters):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port,
                                                           timeout=30)) as connection:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            reply = connection.getresponse()
            if reply.status == 503:
                raise ConnectionError("it is starting")
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def rules(self):
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def raised(self):
        """Names of the alerts that are pending or firing."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"]}

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) in (0, -signal.SIGTERM)  # the latter before it serves


def unprice(world, name):
    """Takes the prices of a model out of the catalogue, before any worker has read it."""
    catalogue = yaml.safe_load(world.catalogue_file.read_text())
    for entry in catalogue["models"]:
        if entry["name"] == name:
            del entry["versions"][0]["prices"]
    world.catalogue_file.write_text(yaml.safe_dump(catalogue))


def load(world):
    """Each counter that an operator looks at has something to count."""
    for lane in LANES:
        world.ask(*[f"{lane} {i}" for i in range(5)], options=("--priority", lane))
    world.ask("[[sim: status=400]] no", "[[sim: status=503 times=1]] later",
              "[[sim: status=502 times=1]] lost")
    world.ask("[[sim: status=401]] no entry", model="locked")
    world.ask("[[sim: status=429 retry-after=30 times=1]] much later", model="slow")
    message = Message()
    twice = message.pack("twice")
    world.produce(b"no job", twice)
    world.seal(message, 1)
    world.wait_ended(message.batch_id)
    world.produce(twice)


@pytest.fixture(scope="module")
def seen(worlds, tmp_path_factory):
    """(world, Prometheus): scraped until all there is to see has been seen."""
    world = worlds(models=[model("locked"), model("slow"), model("unpriced")])
    unprice(world, "unpriced")
    worker = world.start_worker()
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), worker.port)
    try:
        wait_for(lambda: prometheus.query('up{job="inferq-worker"} == 1'), what="the first scrape")
        load(world)

        # Calls without a price, until some fell between two scrapes and an alert about them fires.
        def alarmed():
            world.ask("what does it cost?", model="unpriced")
            return prometheus.query('ALERTS{alertname="InferqCallsUnpriced", alertstate="firing"}')
        wait_for(alarmed, what="an alert about calls without a price", every=1)
        for sign in ('inferq_jobs_redelivered_total > 0', 'inferq_jobs_parked_total > 0',
                     'inferq_dead_letters_published_total > 0', 'inferq_alerts_total > 0',
                     'inferq:calls_unpriced:increase30m > 0', 'inferq_records_buried_total > 0'):
            wait_for(lambda s=sign: prometheus.query(s), what=sign)
        yield world, prometheus
    finally:
        prometheus.stop()


@pytest.fixture(scope="module")
def labels(seen):
    """{metric: {label: values}} of everything that Prometheus knows."""
    known = {"ALERTS": {label: set() for label in ALERTS_LABELS}}
    for series in seen[1].get("series", **{"match[]": '{__name__=~".+"}'}):
        metric = known.setdefault(series.pop("__name__"), {})
        for label, value in series.items():
            metric.setdefault(label, set()).add(value)
    return known


@pytest.fixture(scope="module")
def parsed():
    done = run(checkers() / "python", DEPLOY / "checkers" / "promql",
               stdin=json.dumps(list(EXPRESSIONS.values())))
    return dict(zip(EXPRESSIONS, json.loads(done.stdout)))


def strangers(found, labels):
    """What of an expression's names nobody has."""
    if not found["selectors"]:
        yield "it looks at nothing"
    for metric, matchers in found["selectors"]:
        if metric not in labels:
            yield f"no worker has {metric}"
        elif set(matchers) - set(labels[metric]):
            yield f"{metric} has not the labels {set(matchers) - set(labels[metric])}"
    for kept, metrics in found["groups"]:
        for label in kept:
            if not any(label in labels.get(metric, ()) for metric in metrics):
                yield f"{metrics} have no label {label}"


def test_metrics_and_labels_exist(labels, parsed):
    assert len(parsed) > 60
    assert not {where: problems for where, found in parsed.items()
                if (problems := list(strangers(found, labels)))}


def test_a_strange_metric_or_label_would_be_found(labels):
    has = {"selectors": [["inferq_calls_total", {"endpoint": []}]],
           "groups": [[["class"], ["inferq_calls_total"]]]}
    assert not list(strangers(has, labels))
    for wrong in ({"selectors": [], "groups": []},
                  {"selectors": [["inferq_call_total", {}]], "groups": []},
                  {"selectors": [["inferq_calls_total", {"model": []}]], "groups": []},
                  {**has, "groups": [[["lane"], ["inferq_calls_total"]]]}):
        assert list(strangers(wrong, labels)), wrong


def test_labels_are_compared_with_values_that_exist(seen, parsed):
    """class, status and lane are closed sets."""
    sets = {"lane": set(LANES), "outcome": {"written", "again"}}
    for kind, name in seen[0].rows("SELECT kind, name FROM code WHERE kind IN ('class', 'status')"):
        sets.setdefault(kind, set()).add(name)
    compared = 0
    for where, found in parsed.items():
        for metric, matchers in found["selectors"]:
            for label in sets.keys() & matchers.keys():
                strange = set(matchers[label]) - sets[label]
                assert not strange, f"{where}: {metric} never has {label} {strange}"
                compared += 1
    assert compared >= 15


def test_rules_are_evaluated(seen):
    rules = wait_for(lambda: all(r["health"] != "unknown" for r in seen[1].rules()) and
                     seen[1].rules(), what="each rule's first evaluation")
    assert len(rules) == len(RULES)
    for rule in rules:
        assert rule["health"] == "ok" and not rule.get("lastError"), rule


def test_recording_rules_and_panels_show_something(seen):
    """Alerts' expressions, and the annotations of those that page, are empty while all is well;
    everything else has something to show."""
    for where, expression in EXPRESSIONS.items():
        if where.startswith(("Inferq", "annotation")):
            seen[1].query(expression)
        else:
            wait_for(lambda e=expression: seen[1].query(e), what=f"{where}: a value of {expression}")


def test_alerts_are_those_that_were_asked_for(seen):
    """Nothing is wrong with worker, Postgres and Kafka; a call had no price, a key was refused. What a
    stall of this machine has looked like (a scrape that came to nothing) is over by itself."""
    about_workers = {rule["alert"] for rule in
                     yaml.safe_load((PROMETHEUS / "rules" / "workers.yaml").read_text())
                     ["groups"][0]["rules"]}
    assert "InferqCallsUnpriced" in seen[1].raised()
    at_first = seen[1].raised() & about_workers
    wait_for(lambda: not seen[1].raised() & about_workers, what=f"the end of {at_first}")
