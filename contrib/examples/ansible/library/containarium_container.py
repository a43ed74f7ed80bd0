#!/usr/bin/python3
# WANT_JSON
"""An Ansible module for containers, which runs without Ansible as well.

It takes a file with its arguments as JSON, as Ansible hands them to a module that
says WANT_JSON, and prints {"changed": ..., "msg": ..., "container": ...}, or
{"failed": true, "msg": ...} and exits 1. A second run changes nothing. In check
mode nothing is changed and it says what would be.

    echo '{"name": "alice", "state": "started", "memory": "4GiB"}' >arguments.json
    contrib/examples/ansible/library/containarium_container.py arguments.json

It runs the command line, on the machine that has it and the certificate: in a
playbook that is localhost. playbook.yml is one.
"""

DOCUMENTATION = r"""
module: containarium_container
short_description: Makes sure of the container of a user
description: Makes, changes, starts, stops or removes a container by the containarium command.
options:
  name:
    description: The user whose container it is.
    required: true
    type: str
  state:
    description: >-
      present makes it if it is missing, absent removes it, started and stopped
      are present and running or not.
    choices: [present, absent, started, stopped]
    default: present
    type: str
  server:
    description: The server that it is on, by name or HOST:PORT; else the default of the command.
    type: str
  ssh_keys:
    description: Public keys, as text, that open it. Others that it has stay.
    type: list
    elements: str
  cpu: {description: "Limit such as 2, 0-3 or 1.5; none takes it away.", type: str}
  memory: {description: "Limit such as 4GiB; none takes it away.", type: str}
  disk: {description: "Limit such as 50GiB; none takes it away.", type: str}
  labels: {description: "Labels that it has to have. Others that it has stay.", type: dict}
  image: {description: "What it is made from. It can not be changed later.", type: str}
  docker: {description: "Whether Docker runs in it. It can not be changed later.", type: bool}
  force: {description: "Remove it although it runs, stop it without asking it.", type: bool, default: false}
  program: {description: "The command line.", type: str, default: containarium}
"""

import json
import re
import subprocess
import sys

TIMEOUT = 900  # seconds for one command; the first create of an image may have to fetch it
STATES = ("present", "absent", "started", "stopped")
LIMITS = ("cpu", "memory", "disk")
KNOWN = {"name", "state", "server", "ssh_keys", "labels", "image", "docker", "force", "program", *LIMITS}
RUNNING = "CONTAINER_STATE_RUNNING"
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Failure(Exception):
    """What the task fails of, in one line."""


def is_true(value):
    if isinstance(value, bool) or value is None:
        return bool(value)
    if str(value).lower() in ("yes", "true", "on", "1"):
        return True
    if str(value).lower() in ("no", "false", "off", "0"):
        return False
    raise Failure(f"{value!r} is neither yes nor no")


def same_limit(kind, want, have):
    """Compares limits by what they mean: 4GiB is 4096MiB, and 2 is 2.0."""

    def meaning(text):
        number = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
        if number and kind == "cpu" and not number[2]:
            return float(number[1])
        if number and kind != "cpu" and number[2] in UNITS:
            return float(number[1]) * UNITS[number[2]]
        return "" if text == "none" else text

    return meaning(str(want)) == meaning(have)


def key_of(line):
    """The key without its comment, which does not make it another one."""
    return line.split()[:2]


class Container:
    def __init__(self, arguments):
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        self.check = is_true(arguments.get("_ansible_check_mode"))
        self.done = []
        # Fails closed: a misspelt limit must not leave the container without one.
        unknown = {name for name in arguments if not name.startswith("_ansible_")} - KNOWN
        if unknown:
            raise Failure("unknown arguments: " + ", ".join(sorted(unknown)))
        self.name = str(arguments.get("name", ""))
        if not re.fullmatch(r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?", self.name):
            raise Failure(f"name {self.name!r} must be a user name: a-z, 0-9 and -, at most 31")
        self.state = arguments.get("state") or "present"
        if self.state not in STATES:
            raise Failure(f"state {self.state!r} must be one of " + ", ".join(STATES))
        self.force = ["--force"] if is_true(arguments.get("force")) else []

    def run(self, *words):
        """Runs the command line. Its last line on standard error says what failed on
        which server and what to do next."""
        command = [self.arguments.get("program", "containarium"), *words]
        if self.arguments.get("server"):
            command.append("--server=" + self.arguments["server"])
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure(str(error)) from error
        if ended.returncode != 0:
            lines = ended.stderr.strip().splitlines()
            raise Failure(lines[-1] if lines else f"exit code {ended.returncode}")
        return ended.stdout

    def change(self, what, *words):
        self.done.append(what)
        if not self.check:
            self.run(*words)

    def find(self):
        """The container, or None. A server that can not be asked is a failure: that
        is not to know, and not that there is none."""
        answer = json.loads(self.run("ls", "--user=" + self.name, "--output=json"))
        for container in answer["containers"]:
            if container["username"] == self.name:
                return container
        return None

    def ensure(self):
        found = self.find()
        if self.state == "absent":
            if found:
                self.change("removed", "rm", self.name, *self.force)
            return found if self.check else None
        if not found:
            self.change("created", *self.create())
            if self.state == "stopped":
                self.change("stopped", "stop", self.name, *self.force)
        else:
            self.fit(found)
            running = found["state"] == RUNNING
            if self.state == "started" and not running:
                self.change("started", "start", self.name)
            if self.state == "stopped" and running:
                self.change("stopped", "stop", self.name, *self.force)
        return self.find() if self.done and not self.check else found

    def create(self):
        words = ["create", self.name]
        words += [f"--{limit}={self.arguments[limit]}" for limit in LIMITS if self.arguments.get(limit, "none") != "none"]
        words += [f"--label={key}={value}" for key, value in self.labels().items()]
        words += ["--ssh-key=" + key for key in self.arguments.get("ssh_keys", [])]
        if "image" in self.arguments:
            words.append("--image=" + self.arguments["image"])
        if is_true(self.arguments.get("docker")):
            words.append("--docker")
        return words

    def fit(self, found):
        """Changes what differs from what is asked for, and nothing else."""
        if self.arguments.get("image", found["image"]) != found["image"]:
            raise Failure(f"{self.name} is made from {found['image']}, which can not be changed: remove it first")
        if is_true(self.arguments.get("docker", found["dockerEnabled"])) != found["dockerEnabled"]:
            raise Failure(f"whether {self.name} has Docker can not be changed: remove it first")
        limits = found.get("resources") or {}
        words = [
            f"--{limit}={self.arguments[limit]}"
            for limit in LIMITS
            if limit in self.arguments and not same_limit(limit, self.arguments[limit], limits.get(limit, ""))
        ]
        words += [f"--label={key}={value}" for key, value in self.labels().items() if found["labels"].get(key) != value]
        if words:
            self.change("changed", "set", self.name, *words)
        have = [key_of(key["publicKey"]) for key in found["sshKeys"]]
        for key in self.arguments.get("ssh_keys", []):
            if key_of(key) not in have:
                self.change("given a key", "key", "add", self.name, key)

    def labels(self):
        return {str(key): str(value) for key, value in self.arguments.get("labels", {}).items()}

    def message(self):
        if not self.done:
            return f"{self.name}: as it should be"
        return f"{self.name}: " + ("would be " if self.check else "") + ", ".join(self.done)


def main():
    if len(sys.argv) != 2:
        print("usage: containarium_container.py ARGUMENTS.json", file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            container = Container(json.load(file))
        found = container.ensure()
    except (Failure, OSError, ValueError) as error:
        print(json.dumps({"failed": True, "msg": str(error)}))
        return 1
    print(json.dumps({"changed": bool(container.done), "msg": container.message(), "container": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
