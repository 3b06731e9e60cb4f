"""What the gates written in Python share: the tree's files, and C text without its comments."""

import os
import re
import sys

GATES = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.normpath(os.path.join(GATES, "..", ".."))
SKIPPED = {"build", ".local", ".git", "tests/gates/fixtures"}

TOKENS = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.VERBOSE | re.DOTALL,
)


def enter_tree():
    """Goes to the tree to check: the first argument, or this checkout."""
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ROOT)


def files(*suffixes):
    """Relative paths with one of these suffixes, sorted; fails where there is none."""
    found = []
    for directory, subdirectories, names in os.walk("."):
        directory = os.path.relpath(directory, ".")
        subdirectories[:] = [
            d for d in subdirectories if os.path.normpath(os.path.join(directory, d)) not in SKIPPED
        ]
        found += [
            os.path.normpath(os.path.join(directory, n)) for n in names if n.endswith(suffixes)
        ]
    if not found:
        sys.exit(f"{sys.argv[0]}: no file to check in {os.getcwd()}")
    return sorted(found)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _blank(match):
    text = match.group(0)
    if text[0] in "\"'":
        return text[0] + " " * (len(text) - 2) + text[0]
    return re.sub(r"[^\n]", " ", text)


def code_lines(path):
    """The file's lines with comments and the insides of strings blanked out."""
    return TOKENS.sub(_blank, read(path)).split("\n")


def finish(findings):
    """Prints the findings, and exits 1 if there are any."""
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
