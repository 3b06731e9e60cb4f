#!/usr/bin/python3
"""Makes the golden vectors of the message formats: vectors/*.json.

An implementation of job.md and dead.md that shares nothing with the C code: Python's msgpack,
hashlib and hmac. The files are committed; a test checks that they are what this script makes, and
the C unit tests read them. A vector, once released, does not change: formats get a new version.

    make_vectors.py [DIRECTORY]      writes the files (default: vectors/ beside this script)
"""
import hashlib
import hmac
import json
import pathlib
import struct
import sys

import msgpack

CREATED = 1795000000123  # 2026-11-18, in ms


# ---- ids and signatures, from the prose -------------------------------------------------------


def sized(text):
    data = text.encode()
    return struct.pack(">I", len(data)) + data


def make_id(created, digest_input):
    tail = bytearray(hashlib.sha256(digest_input).digest()[:10])
    tail[0] = tail[0] & 0x0F | 0x70
    tail[2] = tail[2] & 0x3F | 0x80
    return struct.pack(">Q", created)[2:] + bytes(tail)


def job_id(created, app, batch, custom_id, generation=0):
    parts = sized(app) + sized(batch) + sized(custom_id) + struct.pack(">I", generation)
    return make_id(created, b"inferq-id-1" + parts)


def batch_id(created, app, batch):
    return make_id(created, b"inferq-batch-1" + sized(app) + sized(batch))


def signature(key_id, key, value):
    return "v1:%s:%s" % (key_id, hmac.new(key, value, hashlib.sha256).hexdigest())


# ---- jobs -------------------------------------------------------------------------------------

BODY = b'{"messages":[{"role":"user","content":"Hello"}]}'
ORDER = (
    "v job_id batch_id batch custom_id app task team priority url body output context_version "
    "prompt_version sensitivity tags created_at deadline max_attempts max_cost generation"
).split()
REQUIRED = "job_id batch_id batch custom_id app url body created_at".split()


def job(**changes):
    """A minimal valid job; `changes` sets keys, or drops those that are given as DROP."""
    message = {
        "v": 1,
        "batch": "b",
        "custom_id": "c-1",
        "app": "demo",
        "url": "/v1/chat/completions",
        "body": BODY,
        "created_at": CREATED,
    }
    message.update(changes)
    text = {k: message[k] if isinstance(message[k], str) else "x" for k in ("app", "batch", "custom_id")}
    created, generation = message["created_at"], message.get("generation", 0)
    created = created if isinstance(created, int) and 0 <= created < 2**48 else CREATED
    generation = generation if isinstance(generation, int) and 0 <= generation < 2**32 else 0
    message.setdefault(
        "job_id", job_id(created, text["app"], text["batch"], text["custom_id"], generation)
    )
    message.setdefault("batch_id", batch_id(created, text["app"], text["batch"]))
    message = {k: v for k, v in message.items() if v is not DROP}
    ordered = [k for k in ORDER if k in message]
    return {k: message[k] for k in ordered + [k for k in message if k not in ORDER]}


class Drop:
    pass


DROP = Drop()


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def pack_pairs(pairs):
    return msgpack.Packer(use_bin_type=True).pack_map_pairs(pairs)


def splice(message, key, encoded):
    """The message with `key`'s value replaced by bytes as they are."""
    out = pack({k: 0 for k in message})[: 1 if len(message) < 16 else 3]
    return out + b"".join(pack(k) + (encoded if k == key else pack(v)) for k, v in message.items())


def expect(message):
    """What a reader finds in it: absent, nil and empty optional values are null."""
    got = {}
    for key in ORDER[1:]:
        value = message.get(key)
        if isinstance(value, bytes):
            value = value.decode() if key == "body" else value.hex()
        got[key] = None if value == "" else value
    output = got["output"] or {"kind": "text"}
    got["output"] = {k: output.get(k) for k in ("kind", "schema", "labels")}
    got["generation"] = got["generation"] or 0
    return got


def nested(levels):
    value = "core"
    for _ in range(levels):
        value = [value]
    return value


FULL = job(
    batch="invoices 2026-11",
    custom_id="scan/0042.txt",
    app="billing",
    task="extract",
    team="finance",
    priority="high",
    output={"kind": "json", "schema": '{"type":"object","required":["total"]}'},
    context_version="ocr-7",
    prompt_version="sha256:0a1b2c",
    sensitivity="internal",
    tags={"site": "muc", "kind": "invoice"},
    deadline=CREATED + 86400000,
    max_attempts=5,
    max_cost=2500000,
    generation=3,
    body=b'{"model":"small","messages":[{"role":"user","content":"Total?"}],"max_tokens":64}',
)
WIDE = "v: \u00e4\u4e16\U0001f600"


def good_jobs():
    """name, bytes, fields, canonical (byte for byte what inferq's writer makes of the fields), ids
    (whether the ids follow from the fields)."""
    rows = []

    def add(name, message, data=None, canonical=True, ids=True):
        rows.append((name, data or pack(message), expect(message), canonical and not data, ids))

    add("minimal", job())
    add("full", FULL)
    example = job(
        app="demo", batch="letters", custom_id="letter-1.txt", created_at=1795000000000,
        body=b'{"messages": [{"role": "user", "content": "Summarise: ..."}]}',
    )
    add("example", example)
    add("label output", job(output={"kind": "label", "labels": ["spam", "no spam", "\u00fcber"]}))
    add("label output, 1000 labels", job(output={"kind": "label", "labels": [str(i) for i in range(1000)]}))
    add("text output said", job(output={"kind": "text"}), canonical=False)
    add("output with unknown keys", job(output={"kind": "text", "later": [1]}), canonical=False)
    add("output with nil parts", job(output={"kind": "text", "schema": None}), canonical=False)
    add("non-ASCII text", job(app=WIDE, batch=WIDE, custom_id=WIDE, task=WIDE, tags={WIDE: WIDE},
                              body=('{"input":"%s"}' % WIDE).encode()))
    add("priorities: low", job(priority="low"))
    add("priorities: normal", job(priority="normal"))
    add("body with space around it", job(body=b" \t\r\n{} \n"))
    add("longest texts", job(app="a" * 128, task="t" * 128, team="m" * 128, batch="b" * 512,
                             custom_id="c" * 512, context_version="x" * 512,
                             prompt_version="p" * 512, sensitivity="s" * 128, url="/" + "u" * 511))
    add("16 tags", job(tags={"tag%d" % i: "" for i in range(16)}))
    add("longest tag", job(tags={"k" * 128: "v" * 512}))
    add("no tags", job(tags={}))
    add("largest numbers", job(deadline=2**48 - 1, max_attempts=100, max_cost=2**63 - 1,
                               generation=2**32 - 1))
    add("smallest numbers", job(deadline=1, max_attempts=1, max_cost=0, created_at=0))
    add("last creation time", job(created_at=2**48 - 1))
    add("url with a query and dots in names", job(url="/v2/models/m.v1..2/infer?a=/../b"))
    absent = {k: None for k in ORDER if k not in REQUIRED + ["v"]}
    add("nil for absent", job(**absent), canonical=False)
    texts = "task team context_version prompt_version sensitivity".split()
    add("empty for absent", job(**{k: "" for k in texts}), canonical=False)
    add("generation 0 said", job(generation=0), canonical=False)
    add("keys in reverse", FULL, pack(dict(reversed(FULL.items()))))
    add("unknown keys of each type",
        job(a=None, b=True, c=False, d=-1, e=-(2**63), f=2**64 - 1, g=1.5, h=b"\x00\xff", i="",
            j=[], k={}, l=[1, {"m": [b""]}], n={b"bin": {1: 2}}, o=msgpack.ExtType(5, b"12345"),
            p=msgpack.ExtType(1, b"1"), q=msgpack.Timestamp(1, 2), r="s" * 300, t=-40000,
            u=msgpack.ExtType(7, b"7" * 300)),
        canonical=False)
    add("unknown keys may stand twice", job(), pack_pairs([*job().items(), ("x", 1), ("x", 2)]))
    add("32 levels", job(x=nested(31)), canonical=False)
    add("created_at as uint64", job(), splice(job(), "created_at", b"\xcf" + struct.pack(">Q", CREATED)))
    add("created_at as int64", job(), splice(job(), "created_at", b"\xd3" + struct.pack(">q", CREATED)))
    add("v as int32", job(), splice(job(), "v", b"\xd2\x00\x00\x00\x01"))
    add("texts as str32", job(), splice(job(), "app", b"\xdb\x00\x00\x00\x04demo"))
    add("map32 head", job(), b"\xdf\x00\x00\x00" + bytes([len(job())]) + pack(job())[1:])
    add("id of another generation", job(job_id=job_id(CREATED, "demo", "b", "c-1", 1)), ids=False)
    add("id of another app", job(job_id=job_id(CREATED, "omed", "b", "c-1")), ids=False)
    add("id of shifted fields", job(app="ab", batch="c", job_id=job_id(CREATED, "a", "bc", "c-1")), ids=False)
    add("id of another time", job(job_id=job_id(CREATED + 1, "demo", "b", "c-1")), ids=False)
    add("batch id of another batch", job(batch_id=batch_id(CREATED, "demo", "other")), ids=False)
    add("all-zero ids", job(job_id=bytes(16), batch_id=bytes(16)), ids=False)
    return rows


def malformed_jobs():
    whole = pack(job())
    yield "empty", b""
    yield "array that promises 67 million elements", bytes.fromhex("dd04000000")
    yield "map that promises 4 billion pairs", bytes.fromhex("dfffffffff")
    yield "str that promises 4 GiB", bytes.fromhex("81a176dbffffffff")
    yield "bin that promises more than is there", bytes.fromhex("81a176c405010203")
    yield "ext without its bytes", bytes.fromhex("81a178d8050102")
    yield "one byte short", whole[:-1]
    yield "half", whole[: len(whole) // 2]
    yield "one byte too many", whole + b"\xc0"
    yield "two messages", whole + whole
    yield "byte 0xc1", splice(job(x=0), "x", b"\xc1")
    yield "33 levels", pack(job(x=nested(32)))
    yield "33 levels, the last one empty", splice(job(x=0), "x", b"\x91" * 31 + b"\x90")
    yield "10,000 levels", b"\x91" * 10000
    yield "not a map: array", pack([1, 2])
    yield "not a map: int", pack(1)
    yield "not a map: str of JSON", pack('{"v":1}')
    yield "JSON text", b'{"v":1,"app":"demo"}'
    yield "empty map", b"\x80"
    yield "v missing", pack(job(v=DROP))
    for name, value in (("0", 0), ("2", 2), ("-1", -1), ("text", "1"), ("float", 1.0),
                        ("nil", None), ("true", True), ("list", [1])):
        yield "v is " + name, pack(job(v=value))


def invalid_jobs():
    for key in REQUIRED:
        yield key + " missing", pack(job(**{key: DROP}))
        yield key + " nil", pack(job(**{key: None}))
    wrong = {"text": "1", "int": 1, "float": 1.0, "bin": b"0123456789abcde", "list": [1], "true": True,
             "map": {1: 1}, "ext": msgpack.ExtType(1, b"1")}
    fine = {"text": "batch custom_id app task team context_version prompt_version sensitivity".split(),
            "int": "created_at deadline max_attempts max_cost generation".split()}
    for key in ORDER[1:]:
        for kind, value in wrong.items():
            if key not in fine.get(kind, []):
                yield "%s is %s" % (key, kind), pack(job(**{key: value}))
    for key in ("batch", "custom_id", "app", "url"):
        yield key + " empty", pack(job(**{key: ""}))
    for key, most in (("batch", 512), ("custom_id", 512), ("app", 128), ("task", 128), ("team", 128),
                      ("context_version", 512), ("prompt_version", 512), ("sensitivity", 128)):
        yield key + " one byte too long", pack(job(**{key: "x" * (most + 1)}))
        yield key + " with NUL", pack(job(**{key: "a\0b"}))
        yield key + " not UTF-8", splice(job(**{key: "x"}), key, b"\xa2a\xff")
    yield "custom_id with a surrogate", splice(job(), "custom_id", b"\xa3\xed\xa0\x80")
    yield "custom_id overlong", splice(job(), "custom_id", b"\xa2\xc0\xaf")
    yield "custom_id ends inside a character", splice(job(), "custom_id", b"\xa3ab\xc3")
    yield "job_id of 15 bytes", pack(job(job_id=b"x" * 15))
    yield "job_id of 17 bytes", pack(job(job_id=b"x" * 17))
    yield "job_id as text", pack(job(job_id="0" * 16))
    yield "batch_id of 0 bytes", pack(job(batch_id=b""))
    for name, value in (("unknown", "urgent"), ("capital", "High"), ("empty", "")):
        yield "priority " + name, pack(job(priority=value))
    for name, value in (("relative", "v1/chat"), ("absolute", "https://other.example/v1"),
                        ("with a space", "/v1/chat completions"), ("with a line break", "/v1\r\nX: y"),
                        ("with a fragment", "/v1#x"), ("with a backslash", "/v1\\x"),
                        ("with ..", "/v1/../admin"), ("ending in ..", "/v1/.."), ("with .", "/./v1"),
                        ("with %2e%2E", "/v1/%2e%2E/admin"), ("with .%2e", "/v1/.%2e?x"),
                        ("non-ASCII", "/v1/\u00e4"), ("too long", "/" + "u" * 512)):
        yield "url " + name, pack(job(url=value))
    for name, value in (("empty", b""), ("space", b"  "), ("array", b"[1]"), ("text", b'"x"'),
                        ("number", b"1"), ("cut", b'{"a":1'), ("brace", b"{"), ("lone end", b"}"),
                        ("not UTF-8", b'{"a":"\xff"}'), ("with NUL", b'{"a":"\x00"}'),
                        ("with a byte order mark", b"\xef\xbb\xbf{}")):
        yield "body " + name, pack(job(body=value))
    yield "prompt instead of body", pack(job(body=DROP, prompt="summary", variables={"a": "b"}))
    yield "prompt beside body", pack(job(prompt="summary"))
    yield "variables beside body", pack(job(variables={}))
    schema, labels = '{"type":"object"}', ["a", "b"]
    outputs = (
        ("without kind", {}), ("unknown kind", {"kind": "xml"}), ("kind a number", {"kind": 1}),
        ("json without schema", {"kind": "json"}), ("label without labels", {"kind": "label"}),
        ("json with empty schema", {"kind": "json", "schema": ""}),
        ("json with labels", {"kind": "json", "schema": schema, "labels": labels}),
        ("label with schema", {"kind": "label", "schema": schema, "labels": labels}),
        ("text with schema", {"kind": "text", "schema": schema}),
        ("schema as map", {"kind": "json", "schema": {"type": "object"}}),
        ("schema with NUL", {"kind": "json", "schema": "{\0}"}),
        ("labels as map", {"kind": "label", "labels": {"a": 1}}),
        ("labels as text", {"kind": "label", "labels": "a,b"}),
        ("no labels", {"kind": "label", "labels": []}),
        ("1001 labels", {"kind": "label", "labels": ["a"] * 1001}),
        ("empty label", {"kind": "label", "labels": ["a", ""]}),
        ("label a number", {"kind": "label", "labels": ["a", 1]}),
        ("label a list", {"kind": "label", "labels": ["a", ["b"]]}),
        ("label too long", {"kind": "label", "labels": ["x" * 129]}),
        ("label with NUL", {"kind": "label", "labels": ["a\0"]}),
        ("key a number", {"kind": "text", 1: 2}),
    )
    for name, value in outputs:
        yield "output: " + name, pack(job(output=value))
    twice = pack_pairs([("kind", "text"), ("kind", "text")])
    yield "output: kind twice", splice(job(output=0), "output", twice)
    for name, value in (("17 of them", {str(i): "" for i in range(17)}), ("value a number", {"a": 1}),
                        ("value a map", {"a": {}}), ("key a number", {1: "a"}), ("key empty", {"": "a"}),
                        ("key too long", {"k" * 129: ""}), ("value too long", {"a": "v" * 513}),
                        ("value with NUL", {"a": "\0"})):
        yield "tags: " + name, pack(job(tags=value))
    yield "tags: one name twice", splice(job(tags=0), "tags", pack_pairs([("a", "1"), ("a", "2")]))
    for key, values in (("created_at", (-1, 2**48, 2**64 - 1)), ("deadline", (-1, 0, 2**48)),
                        ("max_attempts", (-1, 0, 101, 2**32 + 1)), ("max_cost", (-1, 2**63)),
                        ("generation", (-1, 2**32, 2**32 + 1))):
        for value in values:
            yield "%s is %d" % (key, value), pack(job(**{key: value}))
    for key in ("app", "v", "job_id", "generation"):
        value = FULL[key]
        name = "%s twice" % key
        yield name, pack_pairs([*FULL.items(), (key, value)])
    yield "task nil, then said", pack_pairs([*job().items(), ("task", None), ("task", "t")])
    for name, key in (("an int", 7), ("bin", b"app"), ("nil", None), ("a list", (1, 2))):
        yield "a key is " + name, pack_pairs([*job().items(), (key, 1)])


def job_vectors():
    good = [
        {"name": n, "hex": d.hex(), "fields": f, "canonical": c, "id_matches": i}
        for n, d, f, c, i in good_jobs()
    ]
    bad = [{"name": n, "hex": d.hex(), "class": "malformed"} for n, d in malformed_jobs()]
    bad += [{"name": n, "hex": d.hex(), "class": "invalid_job"} for n, d in invalid_jobs()]
    return {"good": good, "bad": bad}


# ---- dead letters -----------------------------------------------------------------------------

DEAD_ORDER = (
    "v dead_id job_id app task custom_id class reason attempts model_version topic partition offset "
    "timestamp died_at payload class_name"
).split()


def dead(**changes):
    letter = {"v": 1, "dead_id": 7, "class": 10, "attempts": 0, "died_at": CREATED,
              "payload": b"\xc1", "class_name": "malformed"}
    letter.update(changes)
    return {k: letter[k] for k in DEAD_ORDER + [k for k in letter if k not in DEAD_ORDER]
            if k in letter and letter[k] is not DROP}


def dead_vectors():
    source = {"topic": "inferq.jobs.high", "partition": 0, "offset": 0, "timestamp": CREATED}
    full = dead(dead_id=2**63 - 1, job_id=FULL["job_id"], app="billing", task="extract",
                custom_id="scan/0042.txt", reason="400: \u00fcbel", attempts=5,
                model_version="small@2", topic="inferq.jobs.low", partition=11, offset=2**40,
                timestamp=CREATED, died_at=CREATED + 9, payload=pack(FULL),
                **{"class": 33, "class_name": "invalid"})
    good = [("no job", dead(), True), ("full", full, True),
            ("first record of a topic", dead(**source), True),
            ("no timestamp", dead(**{k: v for k, v in source.items() if k != "timestamp"}), True),
            ("no payload", dead(payload=b""), True),
            ("unknown and nil keys", dead(task=None, later={"a": [1]}), False),
            ("keys in reverse", dict(reversed(full.items())), False)]
    bad = [("empty", b""), ("not a map", pack([])), ("cut", pack(full)[:-1]),
           ("one byte too many", pack(full) + b"\0"), ("33 levels", pack(dead(x=nested(32)))),
           ("array that promises 67 million elements", bytes.fromhex("dd04000000")),
           ("a key is an int", pack_pairs([*full.items(), (1, 1)])),
           ("dead_id twice", pack_pairs([*full.items(), ("dead_id", 7)]))]
    bad += [(k + " missing", pack(dead(**{k: DROP})))
            for k in "v dead_id class attempts died_at payload".split()]
    changes = {"v": 2, "dead_id": -1, "class": "10", "attempts": 2**31, "job_id": b"x",
               "app": b"a", "reason": "\0", "topic": 1, "partition": -1, "offset": 2**63,
               "timestamp": 1.0, "died_at": None, "payload": "text", "custom_id": []}
    bad += [(k + " alone", pack(dead(**{k: source[k]}))) for k in ("topic", "partition", "offset")]
    bad += [(k + " missing", pack({n: v for n, v in full.items() if n != k}))
            for k in ("topic", "partition", "offset")]
    bad += [("%s is %r" % (k, v), pack(dead(**{k: v}))) for k, v in changes.items()]

    def fields(letter):
        got = {k: letter.get(k) for k in DEAD_ORDER[1:-1]}
        return {k: v.hex() if isinstance(v, bytes) else v for k, v in got.items()}

    return {"good": [{"name": n, "hex": pack(m).hex(), "fields": fields(m), "canonical": c}
                     for n, m, c in good],
            "bad": [{"name": n, "hex": d.hex()} for n, d in bad]}


# ---- ids and signatures -----------------------------------------------------------------------


def id_vectors():
    rows = [(CREATED, "demo", "b", "c-1", 0), (CREATED, "demo", "b", "c-1", 1),
            (CREATED, "demo", "b", "c-1", 2**32 - 1), (CREATED, "demob", "", "c-1", 0),
            (CREATED, "", "", "", 0), (0, "a", "b", "c", 0), (2**48 - 1, "a", "b", "c", 0),
            (CREATED, "a", "bc", "d", 0), (CREATED, "ab", "c", "d", 0), (CREATED, WIDE, WIDE, WIDE, 7),
            (CREATED, "a" * 128, "b" * 512, "c" * 512, 0)]
    keys = ("created_at", "app", "batch", "custom_id", "generation")
    return {"ids": [dict(zip(keys, row), job_id=job_id(*row).hex(), batch_id=batch_id(*row[:3]).hex())
                    for row in rows]}


def signature_vectors():
    keys = {"k1": bytes(range(32)), "k2.2026": bytes(range(64)), "long": bytes(range(128)),
            "A-z_9.": b"\xff" * 65, "default": b"\x00" * 32}
    texts = [{"text": "%s:%s" % (i, k.hex()), "id": i, "hex": k.hex()} for i, k in keys.items()]
    texts += [{"text": " \tk1:%s \r\n" % keys["k1"].hex().upper(), "id": "k1", "hex": keys["k1"].hex()},
              {"text": keys["k1"].hex() + "\n", "id": "default", "hex": keys["k1"].hex()}]
    good, zero = "00" * 32, "00" * 31
    bad_texts = ["", " ", ":", "k1:", "k1:" + zero, "k1:" + good + "0", "k1:" + "00" * 129, ":" + good,
                 "k 1:" + good, "k/1:" + good, "\u00e4:" + good, "x" * 65 + ":" + good,
                 "k1:" + zero + "0g", "k1:" + good[:32] + " " + good[32:] + "0", "k1:k2:" + good, zero]
    values = {"empty": b"", "bytes": bytes(range(256)), "job": pack(job()), "full": pack(FULL)}
    signed = [{"key": "%s:%s" % (i, k.hex()), "value": v.hex(), "header": signature(i, k, v)}
              for i, k in keys.items() for v in values.values()]

    ring = ("# keys by app\n\n demo k1:%s # the old one\r\ndemo k2.2026:%s\nbilling k1:%s\n"
            % (keys["k1"].hex(), keys["k2.2026"].hex(), keys["long"].hex()))
    value = values["job"]
    right = signature("k1", keys["k1"], value)
    flipped = right[:-1] + ("0" if right[-1] != "0" else "1")
    checks = [("demo", right, value, True), ("demo", signature("k2.2026", keys["k2.2026"], value), value, True),
              ("billing", signature("k1", keys["long"], value), value, True),
              ("demo", "v1:k1:" + right[6:].upper(), value, True), ("demo", signature("k1", keys["k1"], b""), b"", True),
              ("billing", right, value, False), ("demo", signature("k1", keys["long"], value), value, False),
              ("stranger", right, value, False), ("", right, value, False), ("dem", right, value, False),
              ("demo", right, value + b"\0", False), ("demo", right, value[:-1], False), ("demo", flipped, value, False),
              ("demo", "v2" + right[2:], value, False), ("demo", "v1:k9" + right[5:], value, False),
              ("demo", "v1:" + right[6:], value, False), ("demo", right[3:], value, False), ("demo", "", value, False),
              ("demo", right + " ", value, False), ("demo", right[:-2], value, False),
              ("demo", right[:-1] + "g", value, False), ("demo", right[:-1] + "\0", value, False), ("demo", "v1:k1:", value, False),
              ("demo", "v1::" + right[6:], value, False), ("demo", "::", value, False)]
    bad_rings = ["demo", "demo ", "k1:" + good, "demo k1:" + zero, "demo k1:%s\ndemo k1:%s" % (good, good),
                 "demo k1:%s extra" % good, "x" * 129 + " k1:" + good]
    return {
        "keys": texts,
        "bad_keys": bad_texts,
        "signed": signed,
        "ring": ring,
        "checks": [{"app": a, "header": h, "value": v.hex(), "valid": ok} for a, h, v, ok in checks],
        "bad_rings": bad_rings,
    }


FILES = {"job.json": job_vectors, "dead.json": dead_vectors, "ids.json": id_vectors,
         "signatures.json": signature_vectors}


def main():
    default = pathlib.Path(__file__).resolve().parent / "vectors"
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (directory / name).write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
