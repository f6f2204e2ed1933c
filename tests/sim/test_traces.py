"""Recorded workloads: three public forms, and what is wrong with a file, said with its line."""

import gzip
from pathlib import Path

import pytest

from sluicegate.sim.traces import Arrival, read

SAMPLE = Path(__file__).parents[2] / "examples" / "scenarios" / "traces" / "sample.csv"


def test_the_sample_is_read():
    arrivals = read(str(SAMPLE))
    assert len(arrivals) > 200 and arrivals[0].at_s == 0.0 and 100 < arrivals[-1].at_s < 120
    assert all(a.at_s <= b.at_s for a, b in zip(arrivals, arrivals[1:], strict=False))
    assert all(a.prompt > 0 and a.output > 0 for a in arrivals)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "t_s,input_tokens,output_tokens,prefix_block_ids\n0.5,600,20,7 8\n2.25,30,1,\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:01:51.5000000,600,20\r\n2023-11-16 18:01:53.2500000,30,1\r\n",
        '{"timestamp": 500, "input_length": 600, "output_length": 20, "hash_ids": [7, 8]}\n\n'
        '{"timestamp": 2250, "input_length": 30, "output_length": 1, "hash_ids": []}\n',
    ],
)
def test_each_form_says_the_same(tmp_path: Path, text: str, zipped: bool):
    path = tmp_path / ("trace.gz" if zipped else "trace")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    prefix = () if "TIMESTAMP" in text else (7, 8)
    assert read(str(path)) == [Arrival(0.0, 600, 20, prefix), Arrival(1.75, 30, 1)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("a,b,c\n1,2,3\n", "line 1: write t_s,input_tokens,output_tokens"),
        ("t_s,input_tokens,output_tokens\n1,2,3\n1,two,3\n", "line 3"),
        ("t_s,input_tokens,output_tokens\n1,2\n", "line 2"),
        ("t_s,input_tokens,output_tokens\nnan,2,3\n", "line 2"),
        ("t_s,input_tokens,output_tokens\n1,-2,3\n", "line 2"),
        ("t_s,input_tokens,output_tokens\n", "holds no requests"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,2,3\n", "line 2"),
        ('{"timestamp": 1}\n', "line 1"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1}\nnothing\n', "line 2"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str, says: str):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"t.csv: .*{says}"):
        read(str(path))


def test_a_broken_archive_is_a_plain_error(tmp_path: Path):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(b"t_s,input_tokens,output_tokens\n" * 100)[:40])
    with pytest.raises(ValueError, match=r"t\.gz"):
        read(str(path))
