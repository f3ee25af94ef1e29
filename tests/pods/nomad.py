#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A Nomad job as the docker driver would run it, as arguments of `podman run`, one a line.

usage: nomad.py JOB.hcl

Reads as much of HCL as such a file has, and knows the blocks and keys of Nomad's job specification that it may have.
The client's configuration is in the comments. Exits with a sentence for whatever it does not know.
"""

import json
import re
import sys

TOKEN = re.compile(r'\s*(?:(?P<comment>#[^\n]*)|(?P<string>"[^"\n]*")|(?P<number>\d+)|(?P<word>[A-Za-z_][\w-]*)|(?P<sign>[][{}=,]))')
# Of each block: its keys and what they may be, and the blocks in it.
JOB = {
    "job": ({"type": {"service", "batch", "system"}, "datacenters": list}, {"group"}),
    "group": ({"count": int}, {"volume", "task"}),
    "volume": ({"type": {"host", "csi"}, "source": str, "read_only": bool}, set()),
    "task": ({"driver": {"docker"}}, {"config", "volume_mount", "resources"}),
    "config": ({"image": str, "args": list, "readonly_rootfs": bool}, set()),
    "volume_mount": ({"volume": str, "destination": str, "read_only": bool,
                      "propagation_mode": {"private", "host-to-task", "bidirectional"}}, set()),
    "resources": ({"cpu": int, "memory": int, "memory_max": int}, set()),
    "client": ({}, {"host_volume"}),
    "host_volume": ({"path": str, "read_only": bool}, set()),
}
LABELS = {"job", "group", "volume", "task", "host_volume"}
PROPAGATION = {"private": "rprivate", "host-to-task": "rslave", "bidirectional": "rshared"}


def check(condition, text):
    if not condition:
        sys.exit(f"nomad.py: {text}")


def tokens(text):
    text = text.rstrip()
    place = 0
    while place < len(text):
        found = TOKEN.match(text, place)
        check(found, f"unexpected '{text[place:place + 20]}'")
        place = found.end()
        if found.lastgroup != "comment":
            yield found.lastgroup, found.group(found.lastgroup)


def value(stream):
    kind, text = next(stream)
    if kind == "sign":
        check(text == "[", f"unexpected '{text}'")
        items = []
        while True:
            items.append(value(stream))
            _, text = next(stream)
            if text == "]":
                return items
            check(text == ",", f"unexpected '{text}' in a list")
    check(kind != "word" or text in ("true", "false"), f"unexpected '{text}'")
    return json.loads(text)


def body(stream, name, nested):
    """A block until its end: {key: value, block: {label: block}}"""
    keys, blocks = JOB[name]
    result = {}
    for kind, word in stream:
        if word == "}" and kind == "sign" and nested:
            return result
        check(kind == "word", f"{name}: unexpected '{word}'")
        kind, sign = next(stream)
        if sign == "=":
            check(word in keys and word not in result, f"{name}: key '{word}'")
            result[word] = value(stream)
            allowed = keys[word]
            check(result[word] in allowed if isinstance(allowed, set) else type(result[word]) is allowed, f"{name}: {word} = {result[word]}")
            continue
        check(word in blocks and (kind == "string") == (word in LABELS), f"{name}: block '{word}'")
        label = ""
        if kind == "string":
            label = json.loads(sign)
            kind, sign = next(stream)
        check(sign == "{" and label not in result.setdefault(word, {}), f"{name}: block '{word}'")
        result[word][label] = body(stream, word, True)
    check(not nested, f"{name}: no end")
    return result


def parse(text, top):
    JOB["file"] = ({}, {top})
    return body(tokens(text), "file", False)[top]


def only(blocks):
    check(len(blocks) == 1, f"{len(blocks)} blocks: {', '.join(blocks)}")
    return next(iter(blocks.items()))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    _, group = only(only(parse(text, "job"))[1]["group"])
    comment = re.search(r"^#   client \{\n(?:#   .*\n)*#   \}$", text, re.MULTILINE)
    check(comment, "no configuration of the client")
    client = parse(re.sub(r"^#", "", comment.group(), flags=re.MULTILINE), "client")[""]
    _, task = only(group["task"])
    _, mount = only(task["volume_mount"])
    volume = group["volume"].get(mount["volume"])
    check(volume, f"no volume '{mount['volume']}'")
    host = client["host_volume"].get(volume["source"])
    check(volume["type"] == "host" and host, f"the client has no volume '{volume['source']}'")
    # Whoever says so, it is so.
    read_only = host["read_only"] or volume["read_only"] or mount["read_only"]
    _, config = only(task["config"])
    print(f"--memory={task['resources']['']['memory']}m")
    if config.get("readonly_rootfs"):
        print("--read-only")
    print(f"--volume={host['path']}:{mount['destination']}:{PROPAGATION[mount['propagation_mode']]},{'ro' if read_only else 'rw'}")
    for word in [config["image"]] + config["args"]:
        print(word)


if __name__ == "__main__":
    main()
