#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Manifests and examples: rendered by kubectl, and in agreement with each other and with the programs.

Debian 12's kubectl is of 2020. It knows "resources" for files only, calls "patches" by another name, and has no
components, so it is given a copy in the old words. A newer one, Debian 13's or $KUBECTL, is given the files as they are.
"""

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

sys.dont_write_bytecode = True  # nothing is written beside the sources
import schemas  # noqa: E402

ROOT = os.environ["SOURCE_ROOT"]
DEPLOY = os.path.join(ROOT, "container", "deploy")
KUBELET = "/var/lib/kubelet"
DRIVER = "csi.assetfs.io"
PREFIX = "registry.example.com/"
points = 0


def check(condition, text):
    global points
    points += 1
    if not condition:
        sys.exit(f"FAIL: {text}")


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def load(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    check(text.startswith("# SPDX-License-Identifier: Apache-2.0\n"), f"{path}: no licence")
    return [document for document in yaml.safe_load_all(text) if document is not None]


def yaml_files(directory):
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")):
                yield os.path.join(folder, name)


def write_kustomization(folder, kustomization):
    with open(os.path.join(folder, "kustomization.yaml"), "w", encoding="utf-8") as file:
        file.write("# SPDX-License-Identifier: Apache-2.0\n")
        yaml.safe_dump(kustomization, file)


def without_components(folder, kustomization):
    """What has components has the last one as its base, which has the one before it, and so on."""
    components = kustomization.pop("components", [])
    below = kustomization["resources"]
    for i, component in enumerate(components):
        link = os.path.join(folder, f"component-{i}")
        shutil.copytree(os.path.join(folder, component), link)
        (own,) = load(os.path.join(link, "kustomization.yaml"))
        own.update(kind="Kustomization", apiVersion=kustomization["apiVersion"])
        if i == 0:
            below = [os.path.relpath(os.path.join(folder, resource), link) for resource in below]
        own["resources"] = below + own.get("resources", [])
        write_kustomization(link, own)
        below = [f"../component-{i}"]
    kustomization["resources"] = [f"component-{len(components) - 1}"] if components else below


def in_old_words(directory):
    """Kustomizations of a copy, as kustomize 2.0 understands them."""
    for old in (without_components, bases_apart):
        for path in list(yaml_files(directory)):
            if os.path.basename(path) == "kustomization.yaml":
                (kustomization,) = load(path)
                if kustomization["kind"] == "Kustomization":
                    old(os.path.dirname(path), kustomization)
                    write_kustomization(os.path.dirname(path), kustomization)


def bases_apart(folder, kustomization):
    resources = kustomization.pop("resources")
    kustomization["bases"] = [r for r in resources if os.path.isdir(os.path.join(folder, r))]
    kustomization["resources"] = [r for r in resources if r not in kustomization["bases"]]
    if "patches" in kustomization:
        kustomization["patchesJson6902"] = kustomization.pop("patches")


def kubectl_of(package):
    tree = output(os.path.join(os.environ["SUPPORT"], "fetch_package.sh"), package).strip()
    return os.path.join(tree, "usr", "bin", "kubectl")


def render(scratch):
    """{name of a base or overlay: documents}"""
    source = os.path.join(DEPLOY, "kubernetes")
    kubectl = os.environ.get("KUBECTL")
    if not kubectl:
        kubectl = kubectl_of("kubernetes-client")
        if os.path.exists(kubectl):
            source = os.path.join(scratch, "kubernetes")
            shutil.copytree(os.path.join(DEPLOY, "kubernetes"), source)
            in_old_words(source)
        else:  # Debian 13 has it in a package of its own
            kubectl = kubectl_of("kubectl")
    overlays = os.path.join(source, "overlays")
    places = [os.path.join(source, "base")] + [os.path.join(overlays, name) for name in sorted(os.listdir(overlays))]
    return {os.path.basename(place): list(yaml.safe_load_all(output(kubectl, "kustomize", place))) for place in places}


def option_names(*command):
    return set(re.findall(r"--[a-z-]+", output(*command, "--help")))


def pod_of(document):
    """(spec of its pods, labels of its pods), or (None, None)"""
    spec = document.get("spec") or {}
    if document["kind"] == "Pod":
        return spec, document["metadata"].get("labels", {})
    if document["kind"] == "DaemonSet":
        return spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    if document["kind"] == "Fleet":
        return spec["template"]["spec"]["template"]["spec"], {}
    if document["kind"] == "GameServerSet":
        return spec["gameServerTemplate"]["spec"], {}
    return None, None


def check_schema(what, document):
    """As Kubernetes' published schemas have it; of somebody else's kinds, their pods."""
    check({"apiVersion", "kind", "metadata"} <= set(document), f"{what}: not an object")
    if schemas.model_of(document):
        found = list(schemas.findings(document))
    else:
        check(document["kind"] in ("PodMonitor", "Fleet", "GameServerSet"), f"{what}: no schema knows it")
        pod, _ = pod_of(document)
        found = list(schemas.pod_findings(pod, document["kind"])) if pod else []
    check(not found, f"{what}: {'; '.join(found)}")


def check_judge(daemon_set):
    """The schemas find what is wrong: each of these would be refused by an API server."""
    def changed(change):
        document = copy.deepcopy(daemon_set)
        change(document, document["spec"]["template"]["spec"]["containers"][0])
        return document

    wrong = {
        "has no field 'upDateStrategy'": lambda d, c: d["spec"].update(upDateStrategy={}),
        "has no field 'readonly'": lambda d, c: c["volumeMounts"][0].update(readonly=True),
        "'512' is no int": lambda d, c: d["spec"].update(minReadySeconds="512"),
        "'yes' is no bool": lambda d, c: c["securityContext"].update(readOnlyRootFilesystem="yes"),
        "'4 GB' is no quantity": lambda d, c: c["resources"]["limits"].update(memory="4 GB"),
        "Invalid value for `selector`": lambda d, c: d["spec"].pop("selector"),
        "Invalid value for `mount_path`": lambda d, c: c["volumeMounts"][0].pop("mountPath"),
        "not a list": lambda d, c: c.update(args="--store"),
        "not an object": lambda d, c: c.update(resources=[]),
    }
    check(not list(schemas.findings(daemon_set)), "a good object is refused")
    for text, change in wrong.items():
        found = list(schemas.findings(changed(change)))
        check(len(found) == 1 and text in found[0], f"schemas: {found}, expected '{text}'")


def size(text):
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi|K|M|G)?", text).groups()
    return int(number) << {"K": 10, "M": 20, "G": 30}[(unit or "K")[0]]


def check_pod(what, pod):
    """What holds for pods of ours and of examples."""
    volumes = {volume["name"] for volume in pod["volumes"]}
    check(len(volumes) == len(pod["volumes"]), f"{what}: two volumes of one name")
    for container in pod["containers"]:
        check(container["image"].startswith(PREFIX) and ":" in container["image"][len(PREFIX):],
              f"{what}: image '{container['image']}'")
        mounts = container["volumeMounts"]
        check({mount["name"] for mount in mounts} <= volumes, f"{what}: a mount of a volume that is not there")
        check(len({mount["mountPath"] for mount in mounts}) == len(mounts), f"{what}: two mounts at one place")
        check("memory" in container["resources"]["limits"] and "memory" in container["resources"]["requests"],
              f"{what}: memory is not limited")
        check(set(container["resources"]) <= {"limits", "requests"}, f"{what}: resources")
        check("cpu" not in container["resources"]["limits"], f"{what}: processors are limited")


def check_own_container(what, container, version, programs):
    name = container["image"].rsplit("/", 1)[1]
    check(name in (f"assetfs:{version}", f"assetfs-csi:{version}"), f"{what}: image '{name}', version is {version}")
    security = container["securityContext"]
    check(security.get("readOnlyRootFilesystem") is True, f"{what}: root file system")
    for mount in container["volumeMounts"]:
        check(mount.get("mountPropagation") != "Bidirectional" or security.get("privileged"),
              f"{what}: Kubernetes refuses Bidirectional without privileged")
    command = container["command"]
    key = " ".join(command[:2]) if command[0] == "assetfs" else command[0]
    if key in programs:
        for arg in container["args"] + (container.get("livenessProbe", {}).get("exec", {}).get("command", []))[1:]:
            check(arg.split("=")[0] in programs[key], f"{what}: '{key}' has no option '{arg}'")
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        handler = container.get(probe, {})
        if "httpGet" in handler:
            check(handler["httpGet"]["port"] in ports, f"{what}: {probe} asks port {handler['httpGet']['port']}")
            check(handler["httpGet"]["path"] in ("/healthz", "/readyz"), f"{what}: {probe}")


def check_paths(what, pod):
    """The host's paths of kubelet are the container's: the programs tell them to kubelet and to each other."""
    host = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    for container in pod["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] in host:
                check(mount["mountPath"] == host[mount["name"]], f"{what}: '{mount['mountPath']}' is another path there")


def args_of(container):
    return dict(arg[2:].split("=", 1) for arg in container["args"] if "=" in arg and arg.startswith("--"))


def check_daemon(what, document, pod):
    (container,) = pod["containers"]
    args = args_of(container)
    check(document["spec"]["updateStrategy"]["type"] == "RollingUpdate", f"{what}: has a keeper, and is not rolled out")
    check(document["spec"]["updateStrategy"]["rollingUpdate"].get("maxSurge", 0) == 0, f"{what}: two daemons of one store")
    limit = size(container["resources"]["limits"]["memory"])
    check(limit >= size(args["region-size"]) + (256 << 20), f"{what}: the region does not fit its limit")
    check(container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"],
          f"{what}: the region is not reserved")
    check(args["metrics"].rsplit(":", 1)[1] == str(container["ports"][0]["containerPort"]), f"{what}: metrics' port")
    check(args["store"] in [mount["mountPath"] for mount in container["volumeMounts"]], f"{what}: the store is not kept")


def check_keeper(what, document, pod, daemon):
    (container,) = pod["containers"]
    security = container["securityContext"]
    check(document["spec"]["updateStrategy"]["type"] == "OnDelete", f"{what}: is rolled out with the daemon")
    check(not {"hostPID", "hostNetwork", "hostIPC"} & set(pod) and "privileged" not in security, f"{what}: rights")
    check(security["capabilities"] == {"drop": ["ALL"]} and security["allowPrivilegeEscalation"] is False, f"{what}: rights")
    socket = args_of(container)["listen"]
    check(args_of(daemon["containers"][0])["keeper"] == socket, f"{what}: another socket than the daemon's")
    for one in (container, daemon["containers"][0]):
        (mount,) = [mount for mount in one["volumeMounts"] if mount["mountPath"] == os.path.dirname(socket)]
        check(not mount.get("readOnly"), f"{what}: no place for the socket")


def check_driver(what, pod, daemon):
    (container,) = pod["containers"]
    args = args_of(container)
    kubelet = args["kubelet-dir"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    for path in (f"{kubelet}/plugins/{DRIVER}", f"{kubelet}/pods"):
        check(mounts[path].get("mountPropagation") == "Bidirectional", f"{what}: mounts at '{path}' are seen nowhere")
    check(f"{kubelet}/plugins_registry" in mounts, f"{what}: kubelet does not get to know the driver")
    check(f"--kubelet-dir={kubelet}" in container["livenessProbe"]["exec"]["command"], f"{what}: the probe's socket")
    check(args["store"] == args_of(daemon["containers"][0])["store"], f"{what}: another store than the daemon's")
    check(mounts[args["store"]]["readOnly"], f"{what}: the store can be written")
    seen = {mount["mountPath"]: mount for mount in daemon["containers"][0]["volumeMounts"]}
    check(seen[f"{kubelet}/plugins/{DRIVER}"]["mountPropagation"] == "HostToContainer",
          f"{what}: the daemon does not see the driver's mounts")


def check_rendered(name, documents, version, programs):
    pods = {}
    labels = {}
    keys = set()
    for document in documents:
        key = (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        what = f"{name}: {document['kind']} {document['metadata']['name']}"
        check(key not in keys, f"{what}: there twice")
        keys.add(key)
        check_schema(what, document)
        check(document["kind"] in ("Namespace", "CSIDriver") or key[1] == "assetfs", f"{what}: namespace")
        pod, pod_labels = pod_of(document)
        if not pod:
            continue
        check(document["spec"]["selector"]["matchLabels"].items() <= pod_labels.items(), f"{what}: selector")
        check(pod["priorityClassName"] == "system-node-critical", f"{what}: priority")
        check(name == "site" or pod["tolerations"] == [{"operator": "Exists"}], f"{what}: tolerations")
        check(pod["automountServiceAccountToken"] is False and "serviceAccountName" not in pod, f"{what}: account")
        check_pod(what, pod)
        if document["metadata"]["name"] == "assetfs-csi":
            check_paths(what, pod)
        for container in pod["containers"]:
            check_own_container(what, container, version, programs)
        pods[document["metadata"]["name"]] = pod
        labels[document["metadata"]["name"]] = pod_labels
        if document["metadata"]["name"] == "assetfs":
            check_daemon(what, document, pod)
    (keeper,) = [document for document in documents if document["metadata"]["name"] == "assetfs-keeper" and document["kind"] == "DaemonSet"]
    check_keeper(f"{name}: keeper", keeper, pods["assetfs-keeper"], pods["assetfs"])
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    check(not {"Role", "ClusterRole", "ServiceAccount"} & set(by_kind), f"{name}: rights")
    for policy in by_kind["NetworkPolicy"]:
        selector = policy["spec"]["podSelector"]["matchLabels"].items()
        check(any(selector <= one.items() for one in labels.values()), f"{name}: a policy for nobody")
        for rule in policy["spec"].get("ingress", []):
            check([port["port"] for port in rule["ports"]] == [pods["assetfs"]["containers"][0]["ports"][0]["containerPort"]],
                  f"{name}: the policy's port")
    for monitor in by_kind.get("PodMonitor", []):
        check(monitor["spec"]["selector"]["matchLabels"].items() <= labels["assetfs"].items(), f"{name}: PodMonitor")
        check(monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics", f"{name}: PodMonitor's port")
    if name == "hostpath":
        check("assetfs-csi" not in pods and "CSIDriver" not in by_kind, "hostpath: has a driver")
    else:
        check([driver["metadata"]["name"] for driver in by_kind["CSIDriver"]] == [DRIVER], f"{name}: CSIDriver")
        check_driver(name, pods["assetfs-csi"], pods["assetfs"])


def check_csi_source(what, csi, attributes):
    check(csi["driver"] == DRIVER and csi["readOnly"] is True, f"{what}: {csi}")
    check("image" in csi["volumeAttributes"], f"{what}: no image")
    for key, value in csi["volumeAttributes"].items():
        check(key in attributes and isinstance(value, str), f"{what}: attribute {key}: {value!r}")


def check_example(path, documents, attributes):
    for document in documents:
        what = f"{os.path.basename(path)}: {document['kind']}"
        check({"apiVersion", "kind", "metadata"} <= set(document), f"{what}: not an object")
        check_schema(what, document)
        if document["kind"] == "PersistentVolume":
            check_csi_source(what, document["spec"]["csi"], attributes)
            check(document["spec"]["accessModes"] == ["ReadOnlyMany"], f"{what}: modes")
        pod, _ = pod_of(document)
        if not pod:
            continue
        check_pod(what, pod)
        for container in pod["containers"]:
            for mount in container["volumeMounts"]:
                check(mount["readOnly"] is True and mount["mountPropagation"] == "HostToContainer", f"{what}: {mount}")
        for volume in pod["volumes"]:
            if "csi" in volume:
                check_csi_source(what, volume["csi"], attributes)


def check_hosts(examples):
    """What is not for Kubernetes."""
    (compose,) = load(os.path.join(examples, "compose.yaml"))
    for service in compose["services"].values():
        for volume in service["volumes"]:
            check(volume["read_only"] is True and volume["bind"]["propagation"] == "rslave", f"compose: {volume}")
        check("mem_limit" in service and service["read_only"] is True, "compose: limits")
    with open(os.path.join(examples, "systemd", "fstab"), encoding="utf-8") as file:
        lines = [line.split() for line in file if not line.startswith("#")]
    check(len(lines) == 1 and len(lines[0]) == 6 and lines[0][2] == "assetfs", "fstab")
    directory = lines[0][1]
    with open(os.path.join(examples, "systemd", "game@.service"), encoding="utf-8") as file:
        check(f"RequiresMountsFor={directory}\n" in file.read(), "game@.service: another directory than fstab's")
    with open(os.path.join(examples, "game.nomad.hcl"), encoding="utf-8") as file:
        text = file.read()
    check(text.count("{") == text.count("}") and "host-to-task" in text and os.path.dirname(directory) in text, "nomad")


def check_site(base, site):
    """Each component has changed what it is there for, on all pods."""
    base_pods, site_pods = ({d["metadata"]["name"]: pod_of(d)[0] for d in documents if pod_of(d)[0]} for documents in (base, site))
    check(set(base_pods) == set(site_pods) == {"assetfs", "assetfs-keeper", "assetfs-csi"}, "site: DaemonSets")
    for name, pod in site_pods.items():
        check(pod["nodeSelector"] != base_pods[name]["nodeSelector"] and "kubernetes.io/os" in pod["nodeSelector"], f"site: nodes of {name}")
        check(all(toleration["operator"] == "Equal" for toleration in pod["tolerations"]), f"site: tolerations of {name}")
        check(all("/site/" in container["image"] for container in pod["containers"]), f"site: image of {name}")
    sizes = [size(args_of(pods["assetfs"]["containers"][0])["region-size"]) for pods in (base_pods, site_pods)]
    check(sizes[1] > sizes[0], f"site: region of {sizes}")
    check([d["kind"] for d in site].count("PodMonitor") == 1, "site: metrics")


def yaml_in(path):
    with open(path, encoding="utf-8") as file:
        for text in re.findall(r"^```yaml\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL):
            yield from (document for document in yaml.safe_load_all(text) if document)


def main():
    with open(os.path.join(ROOT, "container", "csi", "volume.c"), encoding="utf-8") as file:
        attributes = set(re.findall(r'^\t\{ "([a-z]+)", set_', file.read(), re.MULTILINE))
    check(len(attributes) == 7, f"attributes: {attributes}")
    version = output(os.environ["ASSETFS_CSI"], "--version").split()[1]
    help_text = output(os.environ["ASSETFS_CSI"], "--help")
    check(f"default {KUBELET})" in help_text and f"default {DRIVER})" in help_text, "defaults of the driver")
    # The keeper has the options of the daemon that it starts.
    programs = {"assetfs keeper": option_names(os.environ["ASSETFS"], "serve") | option_names(os.environ["ASSETFS"], "keeper"),
                "assetfs-csi": option_names(os.environ["ASSETFS_CSI"])}
    for path in yaml_files(os.path.join(DEPLOY, "kubernetes")):
        load(path)
    with tempfile.TemporaryDirectory() as scratch:
        rendered = render(scratch)
    check(set(rendered) == {"base", "hostpath", "k0s", "monitoring", "site"}, f"overlays: {set(rendered)}")
    check_site(rendered["base"], rendered["site"])
    check_judge(next(d for d in rendered["base"] if d["kind"] == "DaemonSet"))
    for name, documents in rendered.items():
        check_rendered(name, documents, version, programs)
    examples = os.path.join(DEPLOY, "examples")
    for path in yaml_files(examples):
        if not path.endswith("compose.yaml"):
            check_example(path, load(path), attributes)
    check_hosts(examples)
    for document in yaml_in(os.path.join(ROOT, "docs", "kubernetes.md")):
        if document.get("kind") == "PersistentVolume":
            check_csi_source("kubernetes.md", document["spec"]["csi"], attributes)
        for volume in (document.get("spec") or {}).get("volumes", []):
            check_csi_source("kubernetes.md", volume["csi"], attributes)
    print(f"{points} points hold")


if __name__ == "__main__":
    main()
