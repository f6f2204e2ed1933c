// What every client here says and asks for, and how an error is put into a line.

import { createHash } from "node:crypto";

export const TEXTS = ["one fish", "two fish, red fish"];
export const TOKENS = [[3, 5, 8], [13, 21]];
export const PARAMETERS = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
export const TOOL = {
  type: "function",
  function: { name: "weather", description: "Weather of a place", parameters: PARAMETERS },
};
export const CITY = {
  type: "object",
  properties: { city: { type: "string" }, inhabitants: { type: "integer" } },
  required: ["city", "inhabitants"],
  additionalProperties: false,
};
export const FORM = { type: "json_schema", json_schema: { name: "city", strict: true, schema: CITY } };

export const user = (content) => [{ role: "user", content }];

export function vectors(found, tokens = null) {
  return {
    count: found.length,
    lengths: [...new Set(found.map((v) => v.length))].sort(),
    begin: found.map((v) => Array.from(v.slice(0, 3), (x) => Math.round(x * 1e5) / 1e5)),
    tokens,
  };
}

export function heard(bytes) {
  return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

// Of what was thrown: its class, and the status that the client took from the answer, also where it is wrapped.
export async function thrown(call) {
  let answer;
  try {
    answer = await call();
  } catch (e) {
    for (let found = e; found; found = found.cause ?? found.lastError) {
      const status = found.status ?? found.statusCode;
      if (status !== undefined) {
        return { error: e.constructor.name, status: Number(status), message: String(e.message).slice(0, 300) };
      }
    }
    return { error: e.constructor.name, status: null, message: String(e.message).slice(0, 300) };
  }
  return { error: null, status: 200, message: String(answer).slice(0, 300) };
}
