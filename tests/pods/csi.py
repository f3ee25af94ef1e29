#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client of the CSI driver that shares no code with it: grpc's own, messages made by protoc.

usage: csi.py PROTO_DIR SOCKET COMMAND [ARGUMENT]...

  call SERVICE/METHOD [JSON]   print the answer as JSON, or "STATUS: text" and end with status 1
  errors TARGET LAYOUT OTHER   provoke what the driver must refuse; OTHER is an image of two platforms
  crowd N DIR LAYOUT [TURNS]   publish and unpublish N volumes at once, each several times (4)
  same N TARGET LAYOUT         the same publish from N threads at once, then the same unpublish
  raw                          what no good client sends
  old-kubelet                  a call with the socket's path as :authority
"""

import json
import os
import socket
import subprocess
import sys
import threading

import grpc
from google.protobuf import json_format

PATIENCE = 120
READ_ONLY_MANY = {"mount": {}, "accessMode": {"mode": "MULTI_NODE_READER_ONLY"}}


def load_protos(directory):
    """Compile the .proto files, with maps as kubelet has them, and import what comes of it."""
    source = os.path.join(os.environ["SOURCE_ROOT"], "container", "csi")
    if not os.path.exists(os.path.join(directory, "registration_pb2.py")):
        os.makedirs(directory, exist_ok=True)
        for name in ("csi.proto", "registration.proto"):
            with open(os.path.join(source, name), encoding="utf-8") as file:
                text = file.read()
            text = text.replace("repeated Pair", "map<string, string>")
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                file.write(text)
        subprocess.run(["protoc", f"--proto_path={directory}", f"--python_out={directory}",
                        "csi.proto", "registration.proto"], check=True)
    sys.path.insert(0, directory)
    import csi_pb2
    import registration_pb2
    return csi_pb2, registration_pb2


class Empty:
    """A message of which nothing is of interest."""

    def SerializeToString(self):
        return b""

    @staticmethod
    def FromString(data):
        assert data == b"", data
        return Empty()


class Driver:
    def __init__(self, protos, path, options=()):
        csi, registration = protos
        self.channel = grpc.insecure_channel("unix:" + path, options=options)
        self.methods = {
            "csi.v1.Identity/GetPluginInfo": (Empty, csi.GetPluginInfoResponse),
            "csi.v1.Identity/GetPluginCapabilities": (Empty, Empty),
            "csi.v1.Identity/Probe": (Empty, csi.ProbeResponse),
            "csi.v1.Node/NodePublishVolume": (csi.NodePublishVolumeRequest, Empty),
            "csi.v1.Node/NodeUnpublishVolume": (csi.NodeUnpublishVolumeRequest, Empty),
            "csi.v1.Node/NodeGetVolumeStats": (csi.NodeGetVolumeStatsRequest, csi.NodeGetVolumeStatsResponse),
            "csi.v1.Node/NodeGetCapabilities": (Empty, csi.NodeGetCapabilitiesResponse),
            "csi.v1.Node/NodeGetInfo": (Empty, csi.NodeGetInfoResponse),
            "csi.v1.Node/NodeStageVolume": (Empty, Empty),
            "csi.v1.Controller/CreateVolume": (Empty, Empty),
            "pluginregistration.Registration/GetInfo": (Empty, registration.PluginInfo),
            "pluginregistration.Registration/NotifyRegistrationStatus": (registration.RegistrationStatus, Empty),
        }

    def call(self, method, fields=None):
        """The answer; raises grpc.RpcError."""
        request_type, reply_type = self.methods[method]
        request = request_type()
        if fields:
            json_format.ParseDict(fields, request)
        stub = self.channel.unary_unary("/" + method, request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=reply_type.FromString)
        return stub(request, timeout=PATIENCE)

    def status(self, method, fields=None):
        """(name of the status, text)"""
        try:
            self.call(method, fields)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""


def volume(target, layout, **more):
    attributes = {"image": layout}
    attributes.update(more)
    return {"volumeId": "csi-" + target[-20:], "targetPath": target, "volumeCapability": READ_ONLY_MANY,
            "readonly": True, "volumeContext": attributes}


def check(what, got, wanted, text=""):
    if got[0] != wanted or text not in got[1]:
        sys.exit(f"{what}: {got}, expected {wanted} with '{text}'")
    print(f"   {wanted:20} {what}: {got[1]}")


def errors(driver, target, layout, other):
    publish, unpublish = "csi.v1.Node/NodePublishVolume", "csi.v1.Node/NodeUnpublishVolume"
    stats = "csi.v1.Node/NodeGetVolumeStats"
    good = volume(target, layout)

    def without(key):
        return {k: v for k, v in good.items() if k != key}

    def capability(**fields):
        return dict(good, volumeCapability=dict(READ_ONLY_MANY, **fields))

    def mode(name):
        return capability(accessMode={"mode": name})

    def refused(what, fields, text):
        check(what, driver.status(publish, fields), "INVALID_ARGUMENT", text)

    refused("no volume id", without("volumeId"), "id is missing")
    refused("no target path", without("targetPath"), "target path is missing")
    refused("relative target", dict(good, targetPath="x/y"), "not absolute")
    refused("target with ..", dict(good, targetPath="/x/../y"), "not absolute")
    refused("target in no directory", dict(good, targetPath=target + "/none/mount"), "no directory")
    refused("no capability", without("volumeCapability"), "capability is missing")
    refused("no access type", dict(good, volumeCapability={"accessMode": {"mode": "MULTI_NODE_READER_ONLY"}}),
            "access type")
    refused("block volume", dict(good, volumeCapability={"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}),
            "block")
    refused("no access mode", dict(good, volumeCapability={"mount": {}}), "access mode")
    refused("unknown access mode", mode("UNKNOWN"), "access mode")
    refused("many writers", mode("MULTI_NODE_MULTI_WRITER"), "read-only")
    refused("one writer of many", mode("MULTI_NODE_SINGLE_WRITER"), "read-only")
    refused("mount option", capability(mount={"mountFlags": ["ro", "suid"]}), "'suid'")
    refused("unknown attribute", volume(target, layout, colour="red"), "'colour'")
    refused("no image", dict(good, volumeContext={"csi.storage.k8s.io/ephemeral": "true"}), "one of the attributes 'image' and 'channel'")
    for value in ("", "./layout:v1", "oci:layout:v1", "../x"):
        refused(f"image '{value}'", volume(target, value), "'image'")
    for key, value in (("path", "../x"), ("path", "a/../../x"), ("platform", "linux"), ("platform", "a/../b"),
                       ("prefetch", "yes"), ("pin", "-1"), ("pin", "0"), ("verify", "1")):
        refused(f"{key} '{value}'", volume(target, layout, **{key: value}), f"'{key}'")
    refused("another secret", dict(good, secrets={"user": "hush"}), "a key 'user'")
    if "hush" in driver.status(publish, dict(good, secrets={"user": "hush"}))[1]:
        sys.exit("a secret was told")
    refused("a secret that is no JSON", dict(volume(target, "127.0.0.1:1/game:v1"), secrets={".dockerconfigjson": "hush"}), "no JSON object")
    refused("a file as path", volume(target, layout, path="one/file"), "not a directory")
    refused("platform that is none", volume(target, layout, platform="linux/..x"), "'platform'")
    check("no such path", driver.status(publish, volume(target, layout, path="none")), "NOT_FOUND", "none")
    check("no such layout", driver.status(publish, volume(target, "/none:v1")), "NOT_FOUND", "/none")
    check("no such tag", driver.status(publish, volume(target, layout + "x")), "NOT_FOUND")
    check("no such platform", driver.status(publish, volume(target, other, platform="plan9/mips")), "NOT_FOUND",
          "plan9/mips")
    check("a link out of the image", driver.status(publish, volume(target, layout, path="out")), "NOT_FOUND")
    if os.path.exists(target):
        sys.exit(f"'{target}' was left behind")

    for method, key in ((unpublish, "targetPath"), (stats, "volumePath")):
        check(f"{method} no id", driver.status(method, {key: target}), "INVALID_ARGUMENT", "id is missing")
        check(f"{method} no path", driver.status(method, {"volumeId": "x"}), "INVALID_ARGUMENT", "path is missing")
        check(f"{method} relative", driver.status(method, {"volumeId": "x", key: "a"}), "INVALID_ARGUMENT", "absolute")
    check("unpublish of nothing", driver.status(unpublish, {"volumeId": "x", "targetPath": target}), "OK")
    check("stats of nothing", driver.status(stats, {"volumeId": "x", "volumePath": target}), "NOT_FOUND")
    check("stats of a directory", driver.status(stats, {"volumeId": "x", "volumePath": "/"}), "INVALID_ARGUMENT")
    check("stats of another mount", driver.status(stats, {"volumeId": "x", "volumePath": "/proc"}), "NOT_FOUND")
    os.makedirs(target)
    with open(os.path.join(target, "precious"), "w", encoding="utf-8"):
        pass
    check("unpublish of what is no volume", driver.status(unpublish, {"volumeId": "x", "targetPath": target}),
          "INTERNAL", "not empty")
    os.remove(os.path.join(target, "precious"))
    os.rmdir(target)

    check("no staging", driver.status("csi.v1.Node/NodeStageVolume"), "UNIMPLEMENTED", "NodeStageVolume")
    check("no controller", driver.status("csi.v1.Controller/CreateVolume"), "UNIMPLEMENTED")
    check("too long", driver.status(publish, dict(good, volumeContext={"image": "x" * (5 << 20)})),
          "RESOURCE_EXHAUSTED", "4194304")

    check("publish", driver.status(publish, good), "OK")
    check("publish again", driver.status(publish, good), "OK")
    check("another path there", driver.status(publish, volume(target, layout, path="one")), "ALREADY_EXISTS", target)
    check("unpublish", driver.status(unpublish, {"volumeId": "x", "targetPath": target}), "OK")
    check("unpublish again", driver.status(unpublish, {"volumeId": "x", "targetPath": target}), "OK")


def run_all(functions):
    """Each in a thread of its own; the first error ends the program."""
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as error:  # also sys.exit's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(str(failures[0]))


def crowd(driver, n, directory, layout, turns=4):
    def one(i):
        target = f"{directory}/{i}"
        name = f"csi-{i}"
        for turn in range(int(turns)):
            path = ("", "one", "one/two")[(i + turn) % 3]
            assert driver.status("csi.v1.Node/NodePublishVolume", volume(target, layout, path=path)) == ("OK", "")
            # Whether it is the right directory: each has a file "which" with its name in it.
            with open(target + "/which", encoding="utf-8") as file:
                assert file.read() == path, (target, path)
            stats = driver.call("csi.v1.Node/NodeGetVolumeStats", {"volumeId": name, "volumePath": target})
            assert not stats.volume_condition.abnormal and stats.usage[0].total > 0, stats
            gone = {"volumeId": name, "targetPath": target}
            assert driver.status("csi.v1.Node/NodeUnpublishVolume", gone) == ("OK", "")
            assert not os.path.exists(target), target

    run_all([lambda i=i: one(i) for i in range(n)])


def same(driver, n, target, layout):
    def publish():
        seen.append(driver.status("csi.v1.Node/NodePublishVolume", volume(target, layout))[0])

    def unpublish():
        seen.append(driver.status("csi.v1.Node/NodeUnpublishVolume", {"volumeId": "x", "targetPath": target})[0])

    for function in (publish, unpublish):
        seen = []
        run_all([function] * n)
        # Calls that find another one at work are sent away, and asked again by the caller.
        if "OK" not in seen or not set(seen) <= {"OK", "ABORTED"}:
            sys.exit(f"{function.__name__}: {seen}")
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = sum(line.split()[4] == target for line in file)
        if mounts != (function is publish):
            sys.exit(f"{function.__name__}: {mounts} mounts at {target}")


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name, value):
    """A header field without indexing (RFC 7541, 6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def request(body, content_type=b"application/grpc", method=b"POST"):
    headers = (literal(b":method", method) + literal(b":path", b"/csi.v1.Identity/Probe") +
               literal(b":scheme", b"http") + literal(b"content-type", content_type))
    return frame(1, 4, 1, headers) + frame(0, 1, 1, body)


def raw(path):
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    cases = {
        "no protocol": (b"GET / HTTP/1.1\r\n\r\n", None),
        "a frame that is too long": (hello + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 100, None),
        "no message": (hello + request(b""), b"13"),
        "half a head": (hello + request(b"\0\0\0"), b"13"),
        "less than it says": (hello + request(b"\0\0\0\0\5abc"), b"13"),
        "compressed": (hello + request(b"\1\0\0\0\1a"), b"12"),
        "not grpc": (hello + request(b"\0\0\0\0\0", content_type=b"text/html"), b"415"),
        "not POST": (hello + request(b"\0\0\0\0\0", method=b"GET"), b"415"),
    }
    for what, (data, wanted) in cases.items():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(data)
            got = b""
            while wanted is None or wanted not in got:
                part = client.recv(4096)
                if not part:
                    break
                got += part
            if wanted and wanted not in got:
                sys.exit(f"{what}: no '{wanted.decode()}' in {got}")
            print(f"   {what}: {len(got)} bytes")


def main():
    protos = load_protos(sys.argv[1])
    path, command, args = sys.argv[2], sys.argv[3], sys.argv[4:]
    driver = Driver(protos, path)
    if command == "call":
        try:
            reply = driver.call(args[0], json.loads(args[1]) if len(args) > 1 else None)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}")
            sys.exit(1)
        print("{}" if isinstance(reply, Empty) else json_format.MessageToJson(reply, indent=None))
    elif command == "errors":
        errors(driver, *args)
    elif command == "crowd":
        crowd(driver, int(args[0]), *args[1:])
    elif command == "same":
        same(driver, int(args[0]), *args[1:])
    elif command == "raw":
        raw(path)
    elif command == "old-kubelet":
        old = Driver(protos, path, options=[("grpc.default_authority", path)])
        check("GetPluginInfo", old.status("csi.v1.Identity/GetPluginInfo"), "OK")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
