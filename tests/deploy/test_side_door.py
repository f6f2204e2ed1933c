"""The template that closes the way around the gateway: what it must say, read from it."""

import re
from pathlib import Path

TEMPLATE = Path(__file__).parents[2] / "deploy" / "azure" / "side-door.bicep"
CODE = re.sub(r"//[^\n]*", "", TEMPLATE.read_text("utf-8").replace("https://", ""))


def resource(name: str) -> str:
    """From its line to the brace that closes it."""
    begin = CODE.index(f"resource {name} ")
    at = CODE.index("{\n", begin)
    depth = 0
    for n, c in enumerate(CODE[at:], at):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if not depth:
            return CODE[begin : n + 1]
    raise AssertionError(f"{name} is not closed")


def rules(name: str) -> list[dict[str, str]]:
    """Of a security group, by priority."""
    found = [
        dict(re.findall(r"(\w+): '?([^'\n]+)'?", rule))
        for rule in re.findall(r"properties: \{([^{}]*)\}", resource(name))
    ]
    return sorted(found, key=lambda rule: int(rule["priority"]))


def test_row_F4_the_resource_has_no_public_network_and_no_keys():
    closed = resource("closed")
    assert "publicNetworkAccess: 'Disabled'" in closed and "disableLocalAuth: true" in closed
    assert "defaultAction: 'Deny'" in closed


def test_row_F4_only_the_gateways_subnet_reaches_the_private_endpoints():
    first, last = rules("endpoints")
    assert first["access"] == "Allow" and first["sourceAddressPrefix"] == "gateway.properties.addressPrefix"
    assert (first["destinationAddressPrefix"], first["destinationPortRange"]) == ("endpointRange", "443")
    assert (last["access"], last["sourceAddressPrefix"], last["protocol"]) == ("Deny", "*", "*")
    subnet = resource("endpointSubnet")
    assert (
        "networkSecurityGroup: { id: endpoints.id }" in subnet and "privateEndpointNetworkPolicies: 'Enabled'" in subnet
    )
    assert "subnet: { id: endpointSubnet.id }" in resource("endpoint")


def test_row_F4_the_gateway_is_reached_through_front_door_alone_and_alone_may_call():
    allowed = [rule for rule in rules("entrance") if rule["access"] == "Allow"]
    assert [rule["sourceAddressPrefix"] for rule in allowed] == ["AzureFrontDoor.Backend", "AzureLoadBalancer"]
    assert rules("entrance")[-1]["access"] == "Deny"
    assert "principalId: gatewayPrincipal" in resource("mayCall") and "scope: closed" in resource("mayCall")


def test_every_name_that_is_used_is_declared():
    declared = set(re.findall(r"^(?:param|var|resource|output) (\w+)", CODE, re.MULTILINE))
    used = set(re.findall(r"\b(\w+)\.(?:id|properties)\b", CODE)) | set(re.findall(r"\$\{(\w+)\}", CODE))
    assert used <= declared
    assert CODE.count("{") == CODE.count("}") and CODE.count("[") == CODE.count("]")
