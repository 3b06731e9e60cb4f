"""The answers of modelsim and what its exact limits let through, stated a second time, in Python.

Purpose: tests recompute what the stand-in must have answered, from the request alone; and what came
within any window, from the witness's lines.
Happy path: expect(path, body) returns content, finish reason and usage of every choice;
heaviest(arrivals, window_us) the most units that came within any window.
Failure: Unsupported is raised where modelsim answers 400 because of a schema.

tests/modelsim/answer.c, schema.c and gauge.c state the same functions; test_modelsim.py and
test_modelsim_limits.py hold them together. Change both or neither. Texts are handled as UTF-8 bytes
throughout, as in C.
"""
import collections
import json
import math
import re

MASK = (1 << 64) - 1
HASH_START = 0xCBF29CE484222325
SPACE = b" \t\n\v\f\r"
EXTRACT_WORDS = 24
STRING_WORDS = 3


class Unsupported(Exception):
    """The schema asks for something that modelsim refuses."""


def fnv1a(data, h=HASH_START):
    """FNV-1a, 64 bits, continued from h: little-endian words of eight bytes, then the rest."""
    whole = len(data) // 8 * 8
    units = [int.from_bytes(data[i:i + 8], "little") for i in range(0, whole, 8)]
    for unit in units + list(data[whole:]):
        h = ((h ^ unit) * 0x100000001B3) & MASK
    return h


def mix(x):
    """The SplitMix64 finaliser."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def tokens(size):
    """Tokens of so many bytes."""
    return (size + 3) // 4


def to_bytes(text):
    """UTF-8; a lone surrogate becomes U+FFFD, as in modelsim."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def words(text, count):
    """The first words, joined by one space."""
    found = [w for w in re.split(b"[" + SPACE + b"]+", text) if w][:count]
    return b" ".join(found) if found else b"(empty)"


def quote(text):
    """A JSON string of these bytes."""
    short = {0x22: b'\\"', 0x5C: b"\\\\", 8: b"\\b", 12: b"\\f", 10: b"\\n", 13: b"\\r", 9: b"\\t"}
    out = b""
    for byte in text:
        if byte in short:
            out += short[byte]
        elif byte < 0x20:
            out += b"\\u%04x" % byte
        else:
            out += bytes([byte])
    return b'"' + out + b'"'


KNOWN = {"type", "properties", "required", "items", "enum", "const", "title", "strict",
         "description", "$schema", "$id", "default", "examples", "$comment"}


def schema_type(schema):
    """The type that is written for a schema."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if isinstance(kind, list):
        return next((k for k in kind if isinstance(k, str) and k != "null"), "null")
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def schema_value(schema, text, path, depth=0):
    """Compact JSON, as bytes, that satisfies the schema."""
    if depth > 16 or not isinstance(schema, dict):
        raise Unsupported("too deep or no object")
    for key, value in schema.items():
        if key not in KNOWN and not (key == "additionalProperties" and isinstance(value, bool)):
            raise Unsupported(key)
    drawn = mix(fnv1a(path, fnv1a(text)))

    def child(name, sub):
        return schema_value(sub, text, path + b"/" + to_bytes(name), depth + 1)

    def plain(value):
        if isinstance(value, str):
            return quote(to_bytes(value))
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    if "const" in schema:
        return plain(schema["const"])
    if schema.get("enum"):
        return plain(schema["enum"][drawn % len(schema["enum"])])
    kind = schema_type(schema)
    if kind == "object":
        members = dict(schema.get("properties", {}))
        for name in schema.get("required", []):
            members.setdefault(name, {})
        return b"{" + b",".join(quote(to_bytes(n)) + b":" + child(n, s)
                                for n, s in members.items()) + b"}"
    if kind == "array":
        items = schema.get("items", {})
        return b"[" + child("0", items) + b"," + child("1", items) + b"]"
    if kind == "string":
        return quote(words(text, STRING_WORDS))
    if kind == "integer":
        return b"%d" % (drawn % 100)
    if kind == "number":
        return b"%d.%02d" % (drawn % 400 // 4, drawn % 4 * 25)
    if kind == "boolean":
        return b"true" if drawn & 1 else b"false"
    if kind == "null":
        return b"null"
    raise Unsupported(kind)


def read_labels(rest):
    """The labels of the rest of a line; None: this is no list of labels."""
    found = []
    for item in rest.split(b"\n", 1)[0].split(b","):
        item = item.strip(b" \t\r\"'`.")
        if len(item) > 64:
            return None
        if item and len(found) < 64:
            found.append(item)
    return found or None


def read_schema(rest):
    """The JSON object that follows; None: there is none."""
    text = rest.lstrip(b" \t\r\n")
    if not text.startswith(b"{"):
        return None
    try:
        return json.JSONDecoder(strict=True).raw_decode(text.decode("utf-8", "replace"))[0]
    except ValueError:
        return None


def find_hint(text, labels):
    """The first ("labels", list) or ("schema", object) of a text, found by its colon."""
    for match in re.finditer(b":", text):
        at = match.start()
        before, rest = text[:at].lower(), text[at + 1:]
        if labels and (re.search(rb"(^|\n)[ \t]*labels\Z", before)
                       or re.search(rb"(?<![a-z])one of\Z", before)):
            found = read_labels(rest)
            if found:
                return "labels", found
        elif before.endswith(b"json schema"):
            found = read_schema(rest)
            if found is not None:
                return "schema", found
    return None


def content_text(content):
    """A message's content as bytes."""
    if isinstance(content, list):
        return b"".join(to_bytes(p["text"]) for p in content if isinstance(p.get("text"), str))
    return to_bytes(content or "")


def answer(text, hinted, response_format):
    """The whole answer (before max_tokens) to one text; hinted: the texts searched for hints."""
    form = (response_format or {}).get("type", "text")
    if form == "json_schema":
        return schema_value(response_format["json_schema"]["schema"], text, b"")
    labels = form != "json_object"
    hint = next((h for h in (find_hint(t, labels) for t in hinted) if h), None)
    if hint and hint[0] == "schema":
        return schema_value(hint[1], text, b"")
    if hint:
        return hint[1][mix(fnv1a(text)) % len(hint[1])]
    plain = b"Extract: " + words(text, EXTRACT_WORDS)
    return b'{"answer":' + quote(plain) + b"}" if form == "json_object" else plain


def cut(text, max_tokens):
    """(text, was it cut) under a limit of tokens; None: no limit."""
    if max_tokens is None or tokens(len(text)) <= max_tokens:
        return text, False
    size = max_tokens * 4
    while size > 0 and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size], True


def texts_of(path, body):
    """The request's texts, in order."""
    if path.endswith("/chat/completions"):
        return [content_text(m.get("content")) for m in body["messages"]]
    given = body["input" if path.endswith("/embeddings") else "prompt"]
    return [to_bytes(t) for t in ([given] if isinstance(given, str) else given)]


def expect(path, body):
    """What modelsim answers to a parsed body on /v1/chat/completions or /v1/completions:
    {"choices": [(content, finish_reason), ...], "usage": {...}}."""
    texts = texts_of(path, body)
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if path.endswith("/chat/completions"):
        users = [t for t, m in zip(texts, body["messages"]) if m.get("role") == "user"]
        asked = [(users[0] if users else texts[-1], texts)]
    else:
        asked = [(text, [text]) for text in texts]
    choices, spent = [], 0
    for text, hinted in asked:
        got, was_cut = cut(answer(text, hinted, body.get("response_format")), limit)
        choices.append((got.decode(), "length" if was_cut else "stop"))
        spent += tokens(len(got))
    prompt = tokens(sum(len(t) for t in texts))
    usage = {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent}
    return {"choices": choices, "usage": usage}


def vector(text, dimensions=8):
    """The unit vector of a text given as bytes, rounded as modelsim prints it."""
    h = fnv1a(text)
    raw = [mix((h + i) & MASK) % 2001 - 1000 for i in range(dimensions)]
    if not any(raw):
        raw[0] = 1
    length = math.sqrt(sum(v * v for v in raw))
    return [float("%.6f" % (v / length)) for v in raw]


def heaviest(arrivals, window_us):
    """The most units within any window of this length, and when that window ended: arrivals are
    (at_us, units). A window is half open: what came exactly one window apart is not in the same."""
    within = collections.deque()
    units, most, at = 0, 0, None
    for at_us, weight in sorted(arrivals):
        while within and within[0][0] <= at_us - window_us:
            units -= within.popleft()[1]
        within.append((at_us, weight))
        units += weight
        if units > most:
            most, at = units, at_us
    return most, at


def misjudged(asked, amount, window_us):
    """Of requests weighed by an exact limit, (at_us, units, passed), those it judged wrongly: let pass
    although more than the amount was within the window, or refused although there was room. Those of
    one microsecond may have come in any order, so a refused one meets all that passed in its own."""
    wrong = []
    passed = sorted((at_us, units) for at_us, units, good in asked if good)
    for at_us, units, good in asked:
        within = sum(u for t, u in passed if at_us - window_us < t <= at_us)
        if (within > amount) if good else (within + units <= amount):
            wrong.append((at_us, units, good, within))
    return wrong
