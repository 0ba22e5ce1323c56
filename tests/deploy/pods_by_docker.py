"""Run the pods of a rendered kustomization as containers of this machine, where there is no cluster. By hand:

    gridparley render k8s pair --out k8s
    python -m tests.deploy.pods_by_docker k8s up        # all at once, in no order, as a cluster does
    python -m tests.deploy.pods_by_docker k8s look      # each pod's own probes
    python -m tests.deploy.pods_by_docker k8s down

Arguments, environment, mounts and their rights, names, users and memory limits are the manifests'. Scheduling, network
policies and rolling updates are a cluster's and are not here. It needs root, and a network named gp-k8s is its own.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.cluster_of import Cluster, Object, Pod

NAME = "gp-k8s"
RUN = Path(tempfile.gettempdir()) / NAME
PROBES = ("livenessProbe", "readinessProbe")


def docker(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *map(str, words)], capture_output=True, text=True, check=check)


def instances(cluster: Cluster) -> Iterator[tuple[str, Pod, str]]:
    """Name of each pod, its form, and the service that gives it a name of its own, if any."""
    sets = cluster.of_kind("StatefulSet")
    for pod in cluster.pods:
        if pod.name in sets:
            spec = sets[pod.name]["spec"]
            for index in range(spec["replicas"]):
                yield f"{pod.name}-{index}", pod, spec["serviceName"]
        else:
            yield pod.name, pod, ""


def up(cluster: Cluster) -> int:
    docker("network", "create", "--internal", NAME)
    for name, pod, service in instances(cluster):
        docker(*_started(cluster, name, pod, service))
        print(name, flush=True)
    return 0


def _started(cluster: Cluster, name: str, pod: Pod, service: str) -> list[object]:
    held, one = pod.spec["securityContext"], pod.container
    memory = one["resources"]["limits"]["memory"].replace("Mi", "m")
    words: list[object] = ["run", "--detach", "--name", f"{NAME}-{name}", "--hostname", name, "--network", NAME]
    words += ["--user", f"{held['runAsUser']}:{held['runAsGroup']}", "--read-only", "--cap-drop", "ALL"]
    words += ["--security-opt", "no-new-privileges", "--memory", memory, "--no-healthcheck"]
    words += ["--restart", "on-failure" if pod.spec.get("restartPolicy") == "OnFailure" else "always"]
    for known, made in cluster.of_kind("Service").items():
        if made["spec"]["selector"].items() <= pod.labels.items():
            words += ["--network-alias", known]
    if service:
        words += ["--network-alias", f"{name}.{service}"]
    for variable in one.get("env", ()):
        words += ["--env", f"{variable['name']}={variable.get('value', name)}"]  # the one without is its own name
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for mount in one["volumeMounts"]:
        words += _mounted(cluster, name, mount, volumes.get(mount["name"], {}))
    return [*words, one["image"], *one.get("args", ())]


def _mounted(cluster: Cluster, name: str, mount: Object, volume: Object) -> list[object]:
    at = mount["mountPath"]
    if "emptyDir" in volume:
        return ["--tmpfs", f"{at}:mode=1777"]
    if "secret" in volume or "configMap" in volume:
        form = volume.get("secret") or volume["configMap"]
        texts = cluster.secrets[form["secretName"]] if "secret" in volume else _config(cluster, form["name"])
        folder = RUN / "mounts" / name / mount["name"]
        for item in form["items"]:
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[item["key"]])
            os.chown(path, 0, _group(cluster))
            path.chmod(form.get("defaultMode", 0o644))
        return ["--volume", f"{folder}:{at}:ro"]
    folder = RUN / "claims" / volume.get("persistentVolumeClaim", {}).get("claimName", f"store-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, _group(cluster))
    folder.chmod(0o2775)
    return ["--volume", f"{folder}:{at}"]


def _config(cluster: Cluster, name: str) -> dict[str, str]:
    found: dict[str, str] = cluster.of_kind("ConfigMap")[name]["data"]
    return found


def _group(cluster: Cluster) -> int:
    return int(cluster.pods[0].spec["securityContext"]["fsGroup"])


def look(cluster: Cluster) -> int:
    """Prints how each pod is; 1 where one is not well."""
    ailing = 0
    for name, pod, _ in instances(cluster):
        found = json.loads(docker("inspect", f"{NAME}-{name}").stdout)[0]
        address = found["NetworkSettings"]["Networks"][NAME]["IPAddress"]
        state = found["State"]
        if pod.spec.get("restartPolicy") == "OnFailure":
            well = state["Status"] == "exited" and state["ExitCode"] == 0
            said = f"ended with {state['ExitCode']}"
        else:
            answers = {kind: state["Running"] and _holds(name, pod, kind, address) for kind in PROBES}
            well = all(answers.values())
            said = ", ".join(f"{kind.removesuffix('Probe')} {'yes' if yes else 'no'}" for kind, yes in answers.items())
        ailing += not well
        print(f"{name:40} {state['Status']:8} {said}, {found['RestartCount']} restarts", flush=True)
    print(f"{ailing} are not well")
    return 1 if ailing else 0


def _holds(name: str, pod: Pod, kind: str, address: str) -> bool:
    probe = pod.container[kind]
    if "exec" in probe:
        return docker("exec", f"{NAME}-{name}", *probe["exec"]["command"], check=False).returncode == 0
    ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    try:
        if "tcpSocket" in probe:
            socket.create_connection((address, ports[probe["tcpSocket"]["port"]]), 5).close()
            return True
        asked = probe["httpGet"]
        with urllib.request.urlopen(f"http://{address}:{ports[asked['port']]}{asked['path']}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def down(cluster: Cluster) -> int:
    docker("rm", "--force", "--volumes", *(f"{NAME}-{name}" for name, _, _ in instances(cluster)), check=False)
    docker("network", "rm", NAME, check=False)
    shutil.rmtree(RUN, ignore_errors=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that `gridparley render k8s` wrote")
    parser.add_argument("what", choices=["up", "look", "down"])
    asked = parser.parse_args()
    return {"up": up, "look": look, "down": down}[asked.what](Cluster(asked.folder))


if __name__ == "__main__":
    sys.exit(main())
