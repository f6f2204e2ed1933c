"""The report: one format, by position, with a closing line that counts."""

from sluicegate.spec.problems import MOST, Place, Problems, render


def test_a_report_reads_like_a_compilers():
    problems = Problems()
    problems.add(Place("gateway.yaml", 131, 14), ("consumers", "partner-app"), "has no fallback", severity="note")
    problems.add(Place("gateway.yaml", 88, 5), ("consumers", "web-shop"), 'unknown key "limit"; did you mean "limits"?')
    problems.add(
        Place("gateway.yaml", 41, 9), ("models", "chat", "use", 0), "no deployment offers x@1", "closest: x@2\nor y@1"
    )
    problems.add(
        Place("gateway.yaml", 41, 9), ("models", "chat", "use", 0), "no deployment offers x@1", "closest: x@2\nor y@1"
    )
    assert render(problems, "nothing was started") == (
        "gateway.yaml:41:9   models.chat.use: no deployment offers x@1\n"
        "                    closest: x@2\n"
        "                    or y@1\n"
        'gateway.yaml:88:5   consumers.web-shop: unknown key "limit"; did you mean "limits"?\n'
        "gateway.yaml:131:14 note: consumers.partner-app: has no fallback\n"
        "2 errors, 1 note; nothing was started"
    )


def test_nothing_to_say_is_nothing():
    assert render(Problems()) == ""


def test_a_flood_is_cut_and_counted():
    problems = Problems()
    for line in range(MOST + 50):
        problems.add(Place("f", line, 1), (), "wrong")
    lines = render(problems).splitlines()
    assert len(lines) == MOST + 2
    assert lines[-2:] == ["... and 50 more", "150 errors"]


def test_damage_is_known_above_the_error_not_below():
    problems = Problems()
    problems.add(Place("f", 1, 1), ("a", "b"), "wrong")
    problems.add(Place("f", 1, 1), ("n",), "fine", severity="note")
    assert [problems.damaged(p) for p in ((), ("a",), ("a", "b"), ("a", "b", "c"), ("n",))] == [
        True,
        True,
        True,
        False,
        False,
    ]
