"""Sluicegate: a self-hosted gateway in front of Azure OpenAI deployments.

Start reading in `core/exchange.py`, the life of one request; `docs/explanation/house.md` draws the rooms around it.
"""

__version__ = "0.1.0.dev0"
