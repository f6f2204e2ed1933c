"""What every client here says and asks for, and how an error is put into a line."""

from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
TEXTS = ["one fish", "two fish, red fish"]
TOKENS = [[3, 5, 8], [13, 21]]


def user(content: str) -> list[Any]:
    return [{"role": "user", "content": content}]


def error(e: BaseException) -> dict[str, Any]:
    """Of an exception: its class, and the status that the client took from the answer, also where it is wrapped."""
    found: BaseException | None = e
    while found is not None:
        status = getattr(found, "status_code", None)
        if status is not None:
            return {"error": type(e).__name__, "status": int(status), "message": str(e)[:300]}
        found = found.__cause__ or found.__context__
    return {"error": type(e).__name__, "status": None, "message": str(e)[:300]}


def raised(call: Any) -> dict[str, Any]:
    try:
        answer = call()
    except Exception as e:
        return error(e)
    return {"error": None, "status": 200, "message": str(answer)[:300]}


async def raised_by(awaitable: Any) -> dict[str, Any]:
    try:
        answer = await awaitable
    except Exception as e:
        return error(e)
    return {"error": None, "status": 200, "message": str(answer)[:300]}


def vectors(found: list[Any], tokens: int | None = None) -> dict[str, Any]:
    """Of embeddings: how many, how long, how they begin."""
    return {
        "count": len(found),
        "lengths": sorted({len(v) for v in found}),
        "begin": [[round(x, 5) for x in v[:3]] for v in found],
        "tokens": tokens,
    }
