"""S-04: one tenant sends ten times what it may. It is held to its limit; the others notice nothing (D4)."""

from typing import Any

import yaml
from click.testing import CliRunner

from sluicegate.cli.simulate import command

DAY: dict[str, Any] = {
    "title": "a noisy tenant", "for_s": 300, "seed": 7,
    "gateway": {
        "version": 1,
        "instances": {"weu": {
            "endpoint": "https://weu.example", "region": "westeurope", "auth": {"key": "${env:WEU_KEY}"},
            "deployments": {"gpt-4o": {"model": "gpt-4o", "version": "2024-11-20", "capacity": "300k tokens/minute"}},
        }},
        "models": {"chat": {"use": "gpt-4o@2024-11-20"}},
        "tenants": {"loud": {"limits": ["60k tokens/minute"]}, "quiet": {"labels": {"owner": "us"}}},
        "consumers": {
            "flood": {"tenant": "loud", "key": "${env:FLOOD_KEY}", "models": ["chat"]},
            "shop": {"tenant": "quiet", "key": "${env:SHOP_KEY}", "models": ["chat"]},
            "desk": {"tenant": "quiet", "key": "${env:DESK_KEY}", "models": ["chat"], "limits": ["60 requests/minute"]},
        },
    },
    "traffic": [
        {"consumer": "flood", "steady": 20, "prompt_tokens": [300, 700], "output_tokens": [50, 100], "max_tokens": 150},
        {"consumer": "shop", "steady": 2, "prompt_tokens": [300, 700], "max_tokens": 200, "stream": 0.5},
        {"consumer": "desk", "steady": 0.5, "prompt_tokens": [300, 700], "max_tokens": 200},
    ],
    "expect": {
        "by_consumer/shop/served_share": {"least": 1}, "by_consumer/desk/served_share": {"least": 0.98},
        "by_consumer/flood/served": {"least": 440, "most": 640},  # 60,000 tokens a minute, about 575 each
        "refused_by/limit.token_rate": {"least": 5000}, "refused_by/pool.throttled": {"most": 0},
    },
}  # fmt: skip


def test_S04_a_noisy_tenant_is_held_to_its_limit_and_the_others_notice_nothing(tmp_path):
    file = tmp_path / "noisy.yaml"
    file.write_text(yaml.safe_dump(DAY, sort_keys=False))
    outcome = CliRunner().invoke(command, ["--scenario", str(file)])
    assert outcome.exit_code == 0, outcome.output


def test_S04_without_limits_it_would_take_what_the_others_need(tmp_path):
    file = tmp_path / "unlimited.yaml"
    unlimited = {
        **DAY,
        "gateway": {
            **DAY["gateway"],
            "tenants": {"loud": {"labels": {"owner": "them"}}, "quiet": {"labels": {"owner": "us"}}},
        },
    }
    unlimited["expect"] = {
        "by_consumer/shop/served_share": {"most": 0.6}, "refused_by/pool.throttled": {"least": 2000}, "early": {"most": 0},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(unlimited, sort_keys=False))
    outcome = CliRunner().invoke(command, ["--scenario", str(file)])
    assert outcome.exit_code == 0, outcome.output
