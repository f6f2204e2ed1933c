"""What the gateway costs, beside two plain proxies that do nothing but pass bytes on: `python -m bench`, `./dev bench`.

Start reading at `rows.py`: what is measured, and what it may cost. Every program (gateway, nginx, envoy) has one core
to itself; the load generator and the mock upstream share another. Timings inform, they never decide the exit status:
errors do, and records or token totals that are not what the upstream sent.
"""
