"""The arithmetic of the bench: medians, percentiles, bounds, and rounds that do not count."""

import pytest

from bench.figures import Sample, figure, judge, percentile
from bench.plan import Report, dump, read_report
from bench.proc import core, stat_fields
from bench.report import shared, spoilt, table
from bench.rounds import why_spoilt
from bench.rows import ROWS, Line, Over, Times, Within


def sample(program: str, value: float, spoilt: str = "") -> Sample:
    return Sample("request-1k", program, 0, {"cpu_us": value}, 1.0, 1.0, 1.0, spoilt)


def report(**more: object) -> Report:
    values = {
        "answered": 0, "input_tokens": 0, "output_tokens": 0, "errors": {}, "unlike": 0, "window_s": 2.0, "units": 0,
        "cpu_s": 0.0, "core_busy": 1.0, "own_busy": 1.0, "rss_kb": 0, **more,
    }  # fmt: skip
    return Report(**values)  # type: ignore[arg-type]


def test_a_figure_is_the_median_and_the_range():
    found = figure([30.0, 10.0, 20.0])
    assert found and (found.median, found.low, found.high) == (20.0, 10.0, 30.0)
    assert figure([]) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_percentiles_of_a_hundred_values_are_those_values(share: float, value: float):
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_a_percentile_of_nothing_is_zero_and_of_one_value_that_value():
    assert percentile([], 0.99) == 0.0
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(("ours", "kept"), [(80.0, "aim"), (81.0, "must"), (100.0, "must"), (101.0, "missed")])
def test_a_bound_is_held_at_its_value_and_missed_above(ours: float, kept: str):
    line = Line("cpu_us", "CPU", "us", Times(1.0, 0.8, "envoy"))
    judged = judge(line, [sample("gateway", ours), sample("envoy", 100.0), sample("nginx", 20.0)])
    assert judged.kept == kept
    assert judged.compared == ours / 100
    assert judged.ratios == {"envoy": ours / 100, "nginx": ours / 20}


def test_bounds_are_ratios_differences_or_the_figure_itself():
    assert Times(1, 1, "nginx").of(6.0, 2.0) == 3.0
    assert Over(1, 1, "nginx").of(6.0, 2.0) == 4.0
    assert Within(1, 1).of(6.0, None) == 6.0


def test_without_its_reference_a_bound_is_not_judged():
    judged = judge(Line("cpu_us", "CPU", "us", Times(1.0, 0.8, "envoy")), [sample("gateway", 9.0)])
    assert judged.compared is None and judged.kept == ""


def test_spoilt_rounds_stand_only_where_there_are_no_others():
    line = Line("cpu_us", "CPU", "us")
    mixed = [sample("gateway", 50.0), sample("gateway", 99.0, "core under 95% busy")]
    assert judge(line, mixed).by_program["gateway"].median == 50.0
    assert judge(line, mixed[1:]).by_program["gateway"].median == 99.0
    assert spoilt(mixed) == ["request-1k, gateway: 1 of 2 rounds spoilt (core under 95% busy); they are not counted"]
    assert "stand here" in spoilt(mixed[1:])[0]
    assert spoilt(mixed[:1]) == []


def test_a_round_needs_a_busy_core_where_it_saturates_a_free_one_where_it_is_paced_and_streams_that_last():
    assert why_spoilt(ROWS["request-1k"], report(core_busy=0.95)) == ""
    assert why_spoilt(ROWS["request-1k"], report(core_busy=0.94)) == "core under 95% busy"
    assert why_spoilt(ROWS["chunk"], report(core_busy=0.2)) == ""  # paced: it cannot be busy
    assert why_spoilt(ROWS["chunk"], report(core_busy=0.5, cpu_s=0.4)) == "others used over 25% of the core"
    assert why_spoilt(ROWS["request-1k"], report(core_busy=1.0, cpu_s=0.4)) == ""
    assert why_spoilt(ROWS["chunk"], report(core_busy=0.2, early=1)) == "streams ended before the window"


def test_a_core_that_others_used_too_is_told():
    alone, crowded = Sample("chunk", "nginx", 0, {}, 0.25, 0.2, 0.3), Sample("chunk", "nginx", 1, {}, 0.9, 0.2, 0.3)
    assert shared([alone]) == []
    assert shared([alone, crowded]) == ["in 1 of 2 rounds others used 10 % of the measured core or more: chunk"]


def test_cpu_per_request_is_the_time_of_the_program_over_what_it_did():
    assert report(cpu_s=1.5, units=50_000).cpu_us == 30.0
    assert report(cpu_s=1.5).share == 0.75
    assert report().cpu_us == 0.0


def test_a_report_crosses_the_pipe():
    sent = report(errors={"status 500": 3}, latencies_us=[1.5, 2.5])
    assert read_report(dump(sent)) == sent


def test_the_name_of_a_process_may_hold_spaces_and_brackets():
    fields = stat_fields("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0")
    assert fields[0] == "S" and fields[11:13] == ["250", "50"]


def test_waiting_for_a_disk_is_not_busy_and_what_the_hypervisor_took_is():
    before = core(0, "cpu  0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    after = core(0, "cpu  0 0 0 0\ncpu0 40 0 20 20 10 0 0 10 0 0\n")
    assert after.since(before) == pytest.approx(0.7)
    assert before.since(before) == 0.0


def test_every_row_has_bounds_that_say_more_with_must_than_with_aim():
    for row in ROWS.values():
        for line in row.lines:
            assert line.bound is None or line.bound.aim < line.bound.must, row.name


def test_the_table_is_markdown_and_lines_up():
    assert table(["a", "bb"], [["xxx", "y"]]) == ["| a   | bb |", "|-----|----|", "| xxx | y  |"]
