"""The HTTP client of the JDK, where there is one: it asks for h2c or h2 with every request (abuse 85)."""

import json
import os
import shutil
import subprocess

import pytest

from tests.clients.ground import KEY, Ground
from tests.clients.roster import HEAVY


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK here")
def test_abuse_85_java_net_http_is_answered(place: Ground):
    before = place.last()
    ca = [str(place.ca)] if place.ca else []
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "JAVA_TOOL_OPTIONS": "-Dfile.encoding=UTF-8"}
    command = ["java", str(HEAVY / "java" / "Ask.java"), place.url, KEY, *ca]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=place.folder, env=env, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [(status, version) for status, version, _ in said] == [
        ("200", "HTTP_1_1"), ("200", "HTTP_1_1"), ("200", "HTTP_1_1"), ("401", "HTTP_1_1"), ("200", "HTTP_1_1"),
    ]  # fmt: skip
    for number in (0, 1, 4):
        assert json.loads(said[number][2])["choices"][0]["message"]["content"] == "Grüße aus 東京"
    assert said[2][2].endswith("data: [DONE]")
    assert json.loads(said[3][2])["error"]["code"] == "401"
    served = place.served(before)
    assert [entry["status"] for entry in served] == [200] * 4 and all(entry["complete"] for entry in served)
