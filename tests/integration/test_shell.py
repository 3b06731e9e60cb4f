"""What a shell gets of the programs: completion in bash and zsh, and man pages. No server is asked."""
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ["INFERQ_BIN"]
BASH = ROOT / "admin/completion/inferq.bash"
ZSH = ROOT / "admin/completion/_inferq"
ENV = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
READ_S = 60


def said(*command):
    return subprocess.run(command, check=True, text=True, env=ENV, stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL).stdout


def commands():
    """["batch show", ...], as `inferq help` lists them."""
    return re.findall(r"^  ([a-z]+(?: [a-z]+)?)\b", said("inferq", "help"), re.MULTILINE)


def options(text):
    """["--batch", ...] of a --help."""
    return re.findall(r"^  (--[a-z][a-z-]*)", text, re.MULTILINE)


# ---- completion --------------------------------------------------------------------------------

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_inferq_complete "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
true
"""


def complete(*words, cwd=None):
    """What bash would offer for the last of the words."""
    done = subprocess.run(["bash", "-c", ASK, "bash", BASH, *words], check=True, text=True, env=ENV,
                          cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL)
    assert not done.stderr
    return sorted(done.stdout.split())


def test_every_command_and_option_is_offered():
    listed = commands()
    assert len(listed) > 10
    assert complete("inferq", "") == sorted({name.split()[0] for name in listed})
    for name in listed:
        words = name.split()
        if len(words) == 2:
            assert words[1] in complete("inferq", words[0], "")
            assert words[1] in complete("inferq", "help", words[0], "")
        if name not in ("help", "submit"):
            offered = complete("inferq", *words, "--")
            assert set(options(said("inferq", *words, "--help"))) <= set(offered), name


def test_options_of_submit_and_worker():
    flags = set(options(said("inferq-submit", "--help")))
    assert len(flags) > 20
    assert flags <= set(complete("inferq-submit", "--"))
    assert complete("inferq", "submit", "--") == complete("inferq-submit", "--")
    settings = re.findall(r"^  ([a-z][a-z_.]+)  \(", said("inferq-worker", "--help"), re.MULTILINE)
    assert len(settings) > 20
    assert {f"--{name}" for name in settings} <= set(complete("inferq-worker", "--"))


@pytest.mark.parametrize("words, offered", [
    (["inferq", "dea"], ["dead"]),
    (["inferq", "dead", "req"], ["requeue"]),
    (["inferq", "help", "conf"], ["config"]),
    (["inferq", "results", "--format", ""], ["csv", "jsonl"]),
    (["inferq", "results", "june", "--format", "c"], ["csv"]),
    (["inferq", "results", "--format", "=", ""], ["csv", "jsonl"]),
    (["inferq", "results", "--format", "="], ["csv", "jsonl"]),
    (["inferq", "results", "--format=j"], ["--format=jsonl"]),
    (["inferq", "submit", "--priority", ""], ["high", "low", "normal"]),
    (["inferq-worker", "--log.level", "wa"], ["warn"]),
    (["inferq-worker", "--catalogue", "cat"], ["catalogue.yaml"]),
    (["inferq", "submit", "--prompt-file", ""], ["catalogue.yaml", "mails.txt"]),
    (["inferq-submit", "--app", "demo", "mai"], ["mails.txt"]),
    (["inferq", "no-such-command", ""], []),
    (["inferq", "explain", ""], []),
])
def test_values(tmp_path, words, offered):
    for name in ("catalogue.yaml", "mails.txt"):
        (tmp_path / name).touch()
    assert complete(*words, cwd=tmp_path) == offered


class Zsh:
    """A zsh at a terminal, with completion loaded from where `make install` puts it."""

    def __init__(self, share):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ.update(ENV, TERM="dumb", PS1="")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.pid = pid
        self.send("unsetopt zle_bracketed_paste 2>/dev/null; PS1=; "
                  f"fpath=({share}/zsh/site-functions $fpath); autoload -U compinit;"
                  " compinit -u -D; echo 'rea''dy'\n")
        self.read_until("\nready")

    def send(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, text):
        end, seen = time.monotonic() + READ_S, ""
        while text not in seen:
            assert time.monotonic() < end, f"no {text!r} in {seen!r}"
            if select.select([self.terminal], [], [], 1)[0]:
                seen += os.read(self.terminal, 65536).decode(errors="replace").replace("\r", "")
        return seen

    def close(self):
        self.send("\x15exit\n")
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(name="share")
def installed_share(tmp_path):
    for source, target in ((BASH, "bash-completion/completions/inferq"),
                           (ZSH, "zsh/site-functions/_inferq")):
        (tmp_path / target).parent.mkdir(parents=True)
        shutil.copy(source, tmp_path / target)
    return tmp_path


def test_zsh(share):
    zsh = Zsh(share)
    for typed, becomes in (("inferq dead req", "inferq dead requeue"),
                           ("inferq results --form", "inferq results --format"),
                           ("inferq submit --priority hi", "inferq submit --priority high"),
                           ("inferq-worker --log.level=wa", "inferq-worker --log.level=warn")):
        zsh.send(f"\x15{typed}\t")
        zsh.read_until(becomes)
    zsh.close()


# ---- man pages ---------------------------------------------------------------------------------

@pytest.fixture(scope="module", name="pages")
def made_pages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([ROOT / "deploy/manpages", BIN, directory], check=True,
                   stdin=subprocess.DEVNULL)
    return directory


def plain(page):
    """A page as it is read, without marks, in one line."""
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou", page], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stderr == "", page.name
    return re.sub(r"\s+", " ", re.sub(r"\u2010\n\s*", "", done.stdout).replace("\u2212", "-")
                  .replace("\u2010", "-"))


def test_every_program_and_command_has_a_page(pages):
    wanted = {"inferq", "inferq-config", "inferq-submit", "inferq-worker"}
    wanted |= {f"inferq-{name.replace(' ', '-')}" for name in commands()
               if name not in ("help", "submit")}
    assert {page.stem for page in pages.glob("*.1")} == wanted


def test_pages_say_what_help_says(pages):
    for page in sorted(pages.glob("*.1")):
        text = plain(page)
        assert re.search(rf"NAME {page.stem} - \w+", text), page.name
        name = page.stem
        if name in ("inferq", "inferq-config"):
            help_text = said("inferq", "help", *name.split("-")[1:])
        elif name in ("inferq-submit", "inferq-worker"):
            help_text = said(name, "--help")
        else:
            help_text = said("inferq", *name.split("-")[1:], "--help")
        for option in options(help_text):
            assert option in text, f"{page.name}: {option}"
        assert len(text) > 0.8 * len(re.sub(r"\s+", " ", help_text)), page.name
