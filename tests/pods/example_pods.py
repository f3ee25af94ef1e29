#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pods of an example as podman can play them.

usage: example_pods.py FILE KUBELET_DIR COUNT

Writes COUNT pods for each pod, or kind that makes pods, of FILE to standard output. Volumes of a CSI driver, and claims of
such, are directories there that the driver has to publish: a comment "# publish POD ATTRIBUTES" says each, as JSON of what
kubelet gives to the driver. All else is as the file has it.
"""

import copy
import json
import sys

import yaml


def templates(documents):
    """(name, pod spec) of each document that makes pods"""
    for document in documents:
        spec = document["spec"]
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec
        elif document["kind"] == "Fleet":
            yield "fleet", spec["template"]["spec"]["template"]["spec"]
        elif document["kind"] == "GameServerSet":
            yield "set", spec["gameServerTemplate"]["spec"]
        else:
            assert document["kind"] in ("PersistentVolume", "PersistentVolumeClaim"), document["kind"]


def source_of(volume, documents):
    """The CSI source that a volume of a pod leads to, and whether it is inline"""
    if "csi" in volume:
        return volume["csi"], "true"
    if "persistentVolumeClaim" not in volume:
        return None, None
    of_kind = {document["kind"]: document for document in documents}
    claim, persistent = of_kind["PersistentVolumeClaim"], of_kind["PersistentVolume"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == persistent["spec"]["claimRef"]["name"]
    assert claim["spec"]["volumeName"] == persistent["metadata"]["name"]
    assert claim["spec"]["accessModes"] == persistent["spec"]["accessModes"]
    return persistent["spec"]["csi"], "false"


def main():
    path, kubelet, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    for name, template in templates(documents):
        for i in range(count):
            pod, spec = f"{name}-{i}", copy.deepcopy(template)
            for volume in spec["volumes"]:
                source, inline = source_of(volume, documents)
                if source:
                    attributes = source["volumeAttributes"] | {
                        "csi.storage.k8s.io/pod.name": pod, "csi.storage.k8s.io/ephemeral": inline}
                    print("# publish", pod, json.dumps(attributes))
                    place = {"path": f"{kubelet}/pods/{pod}/mount", "type": "Directory"}
                    volume.clear()
                    volume.update(name=spec["containers"][0]["volumeMounts"][0]["name"], hostPath=place)
            print("---")
            print(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "labels": {"app": "game"}}, "spec": spec}))


if __name__ == "__main__":
    main()
