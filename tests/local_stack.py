"""The local stack (deploy/local/stack) as the runners of tests use it.

fresh(NAME) makes the stack NAME anew and returns the variables that point programs at it; call()
runs any of its commands. What goes wrong is a subprocess.CalledProcessError.
"""
import os
import shlex
import subprocess

STACK = os.path.normpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "deploy",
                                      "local", "stack"))


def call(name, *arguments):
    """What `stack --name NAME ARGUMENTS...` prints."""
    return subprocess.run([STACK, "--name", name, *arguments], check=True, text=True,
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def fresh(name):
    """A stack without yesterday's data, started; its variables."""
    call(name, "destroy")
    call(name, "up")
    lines = (shlex.split(line)[1] for line in call(name, "env").splitlines())
    return dict(line.split("=", 1) for line in lines)
