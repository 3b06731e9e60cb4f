"""The golden vectors of the message formats, seen from another language: the committed files are what
the script makes, Python's msgpack reads them as the prose says, and the prose's example is one of
them. (The C unit tests hold the C code to the same files, byte for byte, writing included.)"""

import hashlib
import hmac
import json
import pathlib
import re
import subprocess
import sys

import msgpack
import pytest

MESSAGES = pathlib.Path(__file__).resolve().parents[2] / "schemas" / "messages"
VECTORS = MESSAGES / "vectors"
FILES = ["dead.json", "ids.json", "job.json", "signatures.json"]


def load(name):
    return json.loads((VECTORS / name).read_text())


def unpack(row):
    return msgpack.unpackb(bytes.fromhex(row["hex"]), strict_map_key=False)


def test_committed_files_are_what_the_script_makes(tmp_path):
    subprocess.run([sys.executable, MESSAGES / "make_vectors.py", tmp_path], check=True)
    assert sorted(p.name for p in VECTORS.iterdir()) == FILES
    for name in FILES:
        made, committed = (tmp_path / name).read_bytes(), (VECTORS / name).read_bytes()
        assert made == committed, f"{name}: run schemas/messages/make_vectors.py"


@pytest.mark.parametrize("name", ["job.json", "dead.json"])
def test_names_are_unique_and_both_kinds_are_there(name):
    vectors = load(name)
    names = [row["name"] for row in vectors["good"] + vectors["bad"]]
    assert len(names) == len(set(names))
    assert len(vectors["good"]) >= 7 and len(vectors["bad"]) >= 20


@pytest.mark.parametrize("row", load("job.json")["good"], ids=lambda row: row["name"])
def test_job_is_read_as_its_fields_say(row):
    message, fields = unpack(row), row["fields"]
    assert message["v"] == 1
    for key, wanted in fields.items():
        got = message.get(key)
        if key == "output":
            got = {part: (got or {}).get(part) for part in ("kind", "schema", "labels")}
            got["kind"] = got["kind"] or "text"
        elif key == "generation":
            got = got or 0
        elif key == "body":
            json.loads(got)
            got = got.decode()
        elif isinstance(got, bytes):
            got = got.hex()
        assert (None if got == "" else got) == wanted, key


@pytest.mark.parametrize("row", load("dead.json")["good"], ids=lambda row: row["name"])
def test_dead_letter_is_read_as_its_fields_say(row):
    message = unpack(row)
    for key, wanted in row["fields"].items():
        got = message.get(key)
        assert (got.hex() if isinstance(got, bytes) else got) == wanted, key


def refused_by_msgpack(data):
    try:
        msgpack.unpackb(data, strict_map_key=False, object_pairs_hook=list)
    except (ValueError, msgpack.exceptions.UnpackException, msgpack.exceptions.StackError):
        return True
    return False


def test_only_malformed_vectors_are_no_msgpack():
    bad = load("job.json")["bad"]
    unreadable = {r["name"] for r in bad if refused_by_msgpack(bytes.fromhex(r["hex"]))}
    malformed = {r["name"] for r in bad if r["class"] == "malformed"}
    python_is_stricter = {r["name"] for r in bad if "not UTF-8" in r["name"]} | {
        "custom_id with a surrogate",
        "custom_id overlong",
        "custom_id ends inside a character",
    }
    assert unreadable - python_is_stricter <= malformed
    assert {"one byte short", "one byte too many", "byte 0xc1"} <= unreadable


def example():
    """The code block of job.md, run as it stands there."""
    code = re.search(r"```python\n(.*?)```", (MESSAGES / "job.md").read_text(), re.DOTALL).group(1)
    names = {}
    exec(compile(code, "job.md", "exec"), names)  # our own prose
    return names


def test_the_example_of_the_prose_is_a_golden_vector():
    names = example()
    (row,) = [r for r in load("job.json")["good"] if r["name"] == "example"]
    assert names["value"].hex() == row["hex"]
    assert names["job_id"].hex() == row["fields"]["job_id"]
    headers = dict(names["headers"])
    mac = hmac.new(bytes(range(32)), names["value"], hashlib.sha256).hexdigest()
    assert headers["inferq-signature"].decode() == "v1:k1:" + mac


def test_every_key_of_the_vectors_is_in_the_prose():
    for prose, vectors in (("job.md", "job.json"), ("dead.md", "dead.json")):
        text = (MESSAGES / prose).read_text()
        keys = load(vectors)["good"][0]["fields"]
        missing = [key for key in keys if f"`{key}`" not in text]
        assert not missing
