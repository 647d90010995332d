"""Check what is in deploy/: linters where they are installed, the settings that matter everywhere, and the image's own
steps in a plain environment.

    python deploy/check.py                 # seconds
    python deploy/check.py --venv DIR      # runs the Dockerfile's install and start commands in DIR, asks the service

No Docker daemon is needed, and none is used: `docker build` itself is not tried here. Exit status 1 if anything is
wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
LINTERS = (
    (["hadolint"], "Dockerfile"),
    (["docker", "compose", "--file"], "compose.yaml"),
    (["kubeconform", "-strict"], "kubernetes.yaml"),
    (["systemd-analyze", "verify"], "lineament.service"),
)
UNIT = (
    "DynamicUser=yes",
    "ProtectSystem=strict",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ExecReload=/bin/kill -HUP $MAINPID",
)


def dockerfile() -> Iterator[str]:
    """Yield what is wrong with the Dockerfile."""
    steps = instructions()
    if [word for word, _ in steps].count("FROM") != 2:
        yield "Dockerfile: the image is built in one stage and run in another"
    last = dict(steps)
    if last.get("USER") != "10001:10001":
        yield "Dockerfile: it does not run as 10001:10001"
    if "HEALTHCHECK" not in last or "CMD" not in last:
        yield "Dockerfile: no HEALTHCHECK or no CMD"
    copied = [
        word for name, text in steps if name == "COPY" and "--from" not in text for word in shlex.split(text)[:-1]
    ]
    yield from (f"Dockerfile: COPY {word}, which is not there" for word in copied if not (HERE.parent / word).exists())


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (HERE / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def compose() -> Iterator[str]:
    """Yield what is wrong with the compose file."""
    service = yaml.safe_load((HERE / "compose.yaml").read_text("utf-8"))["services"]["lineament"]
    wanted = {"read_only": True, "cap_drop": ["ALL"], "user": "10001:10001", "security_opt": ["no-new-privileges:true"]}
    yield from (f"compose.yaml: {key} is not {value}" for key, value in wanted.items() if service.get(key) != value)


def kubernetes() -> Iterator[str]:
    """Yield what is wrong with the Kubernetes manifest."""
    documents = {one["kind"]: one for one in yaml.safe_load_all((HERE / "kubernetes.yaml").read_text("utf-8"))}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    probes = {"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    yield from (
        f"kubernetes.yaml: no {name} at {path}"
        for name, path in probes.items()
        if container[name]["httpGet"]["path"] != path
    )
    if not (pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]):
        yield "kubernetes.yaml: root, or a file system that can be written"
    if documents["Service"]["spec"]["selector"] != documents["Deployment"]["spec"]["template"]["metadata"]["labels"]:
        yield "kubernetes.yaml: the service selects no pod"


def unit() -> Iterator[str]:
    """Yield what is wrong with the systemd unit and the cron line."""
    text = (HERE / "lineament.service").read_text("utf-8")
    yield from (f"lineament.service: no line {line}" for line in UNIT if line not in text.splitlines())
    jobs = [line for line in (HERE / "lineament.cron").read_text("utf-8").splitlines() if not line.startswith("#")]
    yield from (
        f"lineament.cron: {job!r} is no line of /etc/cron.d"
        for job in jobs
        if not re.match(r"(\S+ ){5}\w+ \S+ .*lineament index ", job)
    )


def flags() -> Iterator[str]:
    """Yield options of `lineament` in these files that the command does not have."""
    from typer.testing import CliRunner

    from lineament.cli import app

    os.environ["COLUMNS"] = "400"
    known = {command: CliRunner().invoke(app, [command, "--help"]).output for command in ("serve", "index")}
    for path in HERE.iterdir():
        for command, rest in re.findall(r"lineament\"?,? \"?(serve|index)\b([^\n]*)", path.read_text("utf-8")):
            for flag in re.findall(r"--[a-z][a-z-]+", rest):
                if flag not in known[command]:
                    yield f"{path.name}: `lineament {command}` has no {flag}"


def lint() -> Iterator[str]:
    """Yield what linters complain of; say which are not here."""
    for command, name in LINTERS:
        if shutil.which(command[0]) is None or (
            command[0] == "docker" and _run(["docker", "compose", "version"]).returncode
        ):
            print(f"skipped: {' '.join(command[:2])} is not installed ({name})")
            continue
        done = _run([*command, str(HERE / name), *(["config", "--quiet"] if command[0] == "docker" else [])])
        said = [
            line for line in (done.stdout + done.stderr).splitlines() if "is not executable: No such file" not in line
        ]  # not installed here
        if done.returncode and said:
            yield f"{command[0]} {name}: {' '.join(said)}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def steps(place: Path) -> Iterator[str]:
    """Run the image's RUN and CMD in a virtual environment, ask the service, and end it; yield what goes wrong."""
    every = instructions()
    install = next(text for word, text in every if word == "RUN" and "pip install" in text)
    command = (
        install.replace("/opt/lineament", shlex.quote(str(place)))
        .replace("${EXTRAS}", "serve")
        .replace("python -m venv", f"{sys.executable} -m venv")
    )
    subprocess.run(command, shell=True, cwd=HERE.parent, check=True)
    start = yaml.safe_load(next(text for word, text in reversed(every) if word == "CMD"))
    start = [
        str(place / "bin" / start[0]),
        *(
            "127.0.0.1" if word == "0.0.0.0" else {"8000": "18000", "9100": "19100"}.get(word, word)
            for word in start[1:]
        ),
    ]
    service = subprocess.Popen(start, cwd=place)
    try:
        asked = {"http://127.0.0.1:18000/readyz": b"ready", "http://127.0.0.1:19100/metrics": b"lineament_model_info"}
        for url, wanted in asked.items():
            if wanted not in answer_of(url):
                yield f"{url} does not say {wanted.decode()}"
    finally:
        service.send_signal(signal.SIGTERM)
        if service.wait(120):
            yield f"the service ended with {service.returncode}"


def answer_of(url: str) -> bytes:
    """Return the answer of an address, waiting two minutes for it."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.5)
    return b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="run the image's steps in this new virtual environment")
    given = parser.parse_args()
    checks = (dockerfile, compose, kubernetes, unit, flags, lint)
    wrong = [fault for check in checks for fault in check()]
    if given.venv is not None:
        wrong += steps(given.venv.resolve())
    print("\n".join(wrong) or "deploy: nothing wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
