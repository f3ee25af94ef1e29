#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sum up meson's test logs: usage: tally.py TESTLOG.json...

The last line is "N passed, N failed", with ", N skipped" when there are any. A
program that speaks TAP counts with each of its test points, any other as one.
With CI=true a skipped test counts as failed, unless skips-allowed.txt has its reason.
"""

import json
import os
import re
import sys

POINT = re.compile(r"^(not )?ok\b(.*)$", re.MULTILINE)
SKIPPED_POINT = re.compile(r"#\s*SKIP\S*\s*(.*)", re.IGNORECASE)
SKIP_REASON = re.compile(r"^skip: (.*)$", re.MULTILINE)
FINE = {"OK", "EXPECTEDFAIL", "SKIP"}


def allowed_reasons():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "skips-allowed.txt")
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def points_of(test):
    """Yield (name, verdict, reason) for each test point of one program."""
    out = test.get("stdout") or ""
    points = POINT.findall(out) if re.search(r"^1\.\.\d+", out, re.MULTILINE) else []
    bad = test["result"] not in FINE
    for negation, rest in points:
        skipped = SKIPPED_POINT.search(rest)
        verdict = "failed" if negation else "skipped" if skipped else "passed"
        bad = bad and verdict != "failed"
        yield test["name"] + rest, verdict, skipped.group(1) if skipped else ""
    if test["result"] == "SKIP" and not points:
        reason = SKIP_REASON.search(out)
        yield test["name"], "skipped", reason.group(1) if reason else "no reason given"
    elif bad or not points:
        # A program that failed beside its points, such as by a sanitizer's report, is one more.
        yield test["name"], "failed" if bad else "passed", ""


def load(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return [{"name": f"no test ran: {path} is missing", "result": "ERROR"}]


def main():
    strict = os.environ.get("CI") == "true"
    allowed = allowed_reasons()
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        build = path.split("/", 1)[0]
        for test in load(path):
            for name, verdict, reason in points_of(test):
                note = ""
                if verdict == "skipped":
                    if reason in allowed:
                        note = " (allowed by skips-allowed.txt)"
                    elif strict:
                        verdict, note = "failed", " (CI allows no skipped test without an entry in skips-allowed.txt)"
                    print(f"skipped: {build}: {name}: {reason}{note}")
                elif verdict == "failed":
                    print(f"FAILED: {build}: {name}")
                count[verdict] += 1
    line = f"{count['passed']} passed, {count['failed']} failed"
    if count["skipped"]:
        line += f", {count['skipped']} skipped"
    print(line)
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
