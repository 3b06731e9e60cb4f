"""The files under deploy/ against each other and against the programs: whatever one of them names,
the other has. What their own checkers say of them is said by the gate `deploy` (tests/gates/deploy),
and what Prometheus makes of a worker's metrics by test_deploy_metrics.py.
"""
import json
import re

import pytest
import yaml

from harness import ROOT
from test_docs import anchors

DEPLOY = ROOT / "deploy"
RULES = {path.name: [rule for group in yaml.safe_load(path.read_text())["groups"]
                     for rule in group["rules"]]
         for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml"))}
ALERTS = {rule["alert"]: (name, rule) for name, rules in RULES.items() for rule in rules
          if "alert" in rule}


# ---- alerts and runbooks ------------------------------------------------------------------------

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
