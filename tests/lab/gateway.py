"""The built gateway, run in the foreground in a directory of its own.

    config = basic_config(certs, lab, inbound_port, hop_port)
    with Gateway("/some/dir", config, policy='gw.on("message", ...)') as gw:
        gw.run("queue", "list", "--json")

Programs: SALLYPORTD and SALLYPORT in the environment, else src/ below the current directory (which
is the build folder in `make check`).
"""

import json
import os
import re
import signal
import subprocess
import time

from .lab import free_port


class MissingProgram(Exception):
    pass


class Lua(str):
    """Text that goes into a configuration as it is: Lua('gw.secret "file:x"')."""


def lua(value, indent=1):
    """A Python value as a Lua constructor; None leaves a field out."""
    if isinstance(value, Lua):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' and ord(c) < 127
                             else "".join(f"\\{b:03d}" for b in c.encode()) for c in value) + '"'
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(lua(v, indent + 1) for v in value) + " }"
    pad = "\t" * indent
    items = [f"{pad}[{lua(str(k))}] = {lua(v, indent + 1)},\n" for k, v in value.items() if v is not None]
    return "{\n" + "".join(items) + "\t" * (indent - 1) + "}"


def merge(base, over):
    """`over` into `base`, section by section."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def basic_config(certs, lab=None, port=None, relay_port=None, hop_port=25, over=None):
    """A gateway for gw.example: "inbound" takes mail for gw.example and hands it to the route
    "inside", "relay" takes mail for anywhere and sends it by MX to hop_port. `over` is merged in."""
    ident = certs.issue("gw.example")
    config = {
        "identity": {"hostname": "gw.example", "postmaster": "postmaster@gw.example"},
        "service": {"workers": 1, "state": "state", "control": "run/control.sock"},
        "networks": {"lab": ["127.0.0.0/8"]},
        "listeners": {
            "inbound": {"bind": [f"127.0.0.1:{port or free_port()}"], "role": "mx", "tls": "gw",
                        "starttls": "offer", "requiretls": "announce"},
            "relay": {"bind": [f"127.0.0.1:{relay_port or free_port()}"], "role": "relay", "tls": "gw",
                      "clients": "lab", "starttls": "offer", "requiretls": "announce"},
        },
        "tls": {"identities": {"gw": {"cert": ident.cert, "key": Lua(f'gw.secret "file:{ident.key}"')}},
                "ca_file": certs.ca},
        "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                    {"match": "*", "kind": "remote", "route": "internet"}],
        "routes": {"inside": {"via": [f"127.0.0.1:{hop_port}"], "tls": "may"},
                   "internet": {"via": "mx", "port": hop_port, "tls": "may"}},
        "queue": {"path": "state/queue.db", "retry": ["1s", "2s", "5s"]},
        "delivery": {"allow_loopback": True, "idle": "1s"},
        "log": {"level": "debug"},
    }
    if lab is not None:
        # What is not a zone of the lab goes to its root, like to a resolver.
        config["dns"] = {"anchor": lab.anchor, "forward": lab.stubs["."], "timeout": "3s",
                         "stub": {z: s for z, s in lab.stubs.items() if z != "."}}
    else:       # nothing is listening: names do not resolve, and nothing is asked outside
        config["dns"] = {"forward": ["127.0.0.1@9"], "timeout": "1s"}
    return merge(config, over or {})


def find_program(name):
    path = os.environ.get(name.upper()) or os.path.join(os.environ.get("builddir", "."), "src", name)
    if not os.access(path, os.X_OK):
        raise MissingProgram(f"{path} is not there; build it, or set {name.upper()}")
    return os.path.abspath(path)


class Gateway:
    def __init__(self, workdir, config, policy=None, files=None, env=None, start=True, wrap=()):
        """config: Lua text or a dict for gw.config. policy: text of policy.lua. files: {name:
        text} below the directory. wrap: a command to run it under (valgrind)."""
        self.dir = os.path.abspath(workdir)
        self.daemon = find_program("sallyportd")
        self.command = find_program("sallyport")
        self.config, self.policy, self.files = config, policy, dict(files or {})
        self.env, self.wrap = dict(env or {}), list(wrap)
        self.process = None
        self.log_path = os.path.join(self.dir, "gateway.log")
        self.conf_path = os.path.join(self.dir, "gateway.lua")
        self.write()
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        if self.process is not None:
            self.stop(check=kind is None)

    # ---- files ----

    def write(self):
        """gateway.lua, policy.lua and the other files, anew."""
        for sub in ("state", "run", "log"):
            os.makedirs(os.path.join(self.dir, sub), mode=0o700, exist_ok=True)
        text = self.config
        if isinstance(text, dict):
            if self.policy is not None:
                merge(text, {"policy": {"load": ["policy.lua"]}})
            text = f"return gw.config {lua(text)}\n"
        files = dict(self.files, **{"gateway.lua": text})
        if self.policy is not None:
            files["policy.lua"] = self.policy
        for name, content in files.items():
            path = os.path.join(self.dir, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)

    def port(self, listener):
        """The port of a listener's first address, from a dict configuration."""
        bind = self.config["listeners"][listener]["bind"]
        return int((bind if isinstance(bind, str) else bind[0]).rpartition(":")[2])

    # ---- life ----

    def start(self, timeout=20):
        env = dict(os.environ, **self.env)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.wrap, self.daemon, "-c", self.conf_path], cwd=self.dir,
                                            env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                code, self.process = self.process.returncode, None
                raise AssertionError(f"sallyportd ended at once with {code}\n{self.log_tail()}")
            if self.run("status").returncode == 0:
                return self
            time.sleep(0.05)
        raise AssertionError(f"sallyportd does not get ready\n{self.log_tail()}")

    def stop(self, check=True, timeout=30):
        """SIGTERM; exit status 0 is expected."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"sallyportd does not end on SIGTERM\n{self.log_tail()}") from None
        if check and code != 0:
            raise AssertionError(f"sallyportd ended with {code}\n{self.log_tail()}")
        return code

    def kill(self):
        """SIGKILL: a crash."""
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def wait_exit(self, timeout=30):
        """Until it ends by itself (a failpoint); its status."""
        process, self.process = self.process, None
        return process.wait(timeout)

    def restart(self):
        if self.process is not None:
            self.stop()
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    # ---- looking at it ----

    def run(self, *args, stdin=None, timeout=30):
        """The command line tool; a CompletedProcess with text."""
        return subprocess.run([self.command, "-c", self.conf_path, *args], cwd=self.dir, input=stdin,
                              capture_output=True, text=True, timeout=timeout, check=False)

    def json(self, *args):
        done = self.run(*args, "--json")
        if done.returncode not in (0, 1):
            raise AssertionError(f"sallyport {' '.join(args)}: {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def log_lines(self, pattern=None):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()
        except OSError:
            lines = []
        return [x for x in lines if pattern is None or re.search(pattern, x)]

    def log_tail(self, n=60):
        return "--- gateway log\n" + "\n".join(self.log_lines()[-n:])

    def wait_log(self, pattern, timeout=15, count=1):
        """Until so many log lines match."""
        def enough():
            lines = self.log_lines(pattern)
            return lines if len(lines) >= count else None

        return self.wait_for(enough, timeout, f"log line {pattern!r}")

    def wait_for(self, condition, timeout=15, what="the condition"):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"sallyportd ended with {self.process.returncode}\n{self.log_tail()}")
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come true in {timeout} s\n{self.log_tail()}")

    def queue(self):
        """The waiting messages, as `sallyport queue list --json` has them."""
        return self.json("queue", "list")["messages"]

    def wait_queue_empty(self, timeout=15):
        self.wait_for(lambda: not self.queue(), timeout, "an empty queue")
