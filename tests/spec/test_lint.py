"""Warnings and notes: what compiles and may still not do as people hope. None of them is an error."""

import pytest

from sluicegate.spec.problems import Severity
from tests.spec.reading import SMALLEST, consumer, deployments, found, gateway, instance, model, swapped

TWO = deployments("b: {model: gpt-4o, version: 2024-11-20}")


def test_a_file_with_nothing_to_say_about_is_silent():
    for severity in ("error", "warning", "note"):
        assert found(TWO, severity) == []


@pytest.mark.parametrize(
    ("text", "severity", "problem"),
    [
        (SMALLEST, "warning", "13:10 models.chat.use: one deployment only: when it is throttled or broken, nothing stands "
         "in for it | declare another of the same model and version"),
        (TWO.replace("https://", "http://"), "note", "6:15 instances.weu.endpoint: plain HTTP: the key and all text cross "
         "the network in clear | write https:// if the server can"),
        (gateway("listen: {address: 0.0.0.0:8080}"), "note", "4:21 gateway.listen.address: plain HTTP: clients' keys and all "
         "text cross the network in clear | add tls, unless something in front does it"),
        (model("timeouts: {total: 20s, first_byte: 30s, idle: 1s}"), "warning", "14:40 models.chat.timeouts.first_byte: "
         "first_byte is longer than total (20s), which ends the request first | shorten it, or raise total"),
        (deployments("b: {model: gpt-4o, version: 2024-11-20, tier: 0}"), "note", "11:53 instances.weu.deployments.b.tier: "
         "overrides what follows from Standard"),
        (deployments("b: {model: gpt-4o, version: 1}"), "note", "11:7 instances.weu.deployments.b: no model uses it | name "
         "it in the use of a model, or remove it"),
        (instance("deployments: {b: {model: gpt-4o, version: 2024-11-20}}").replace("    deployments:\n", "  sdc:\n    endpoint: "
         "https://contoso-weu.openai.azure.com/\n    auth: none\n    deployments:\n"), "warning", "11:15 instances.sdc.endpoint: "
         "the same address as instances.weu: deployments of both share their capacity and their faults | declare all its "
         "deployments in one instance"),
        (consumer(""), "warning", "16:10 consumers.my-app.key: shorter than 16 characters | openssl rand -hex 32 makes a key"),
    ],
)  # fmt: skip
def test_what_may_surprise_is_said(text: str, severity: Severity, problem: str):
    env = {"APP_KEY": "short"} if "shorter" in problem else None
    assert problem in found(text, severity, env)
    assert found(text, env=env) == []


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000", "http://127.8.0.1"]
)
def test_loopback_needs_no_tls(host: str):
    assert found(swapped("https://contoso-weu.openai.azure.com", f'"{host}"'), "note") == []
