// One client, every operation it has: `run.mjs MODULE`, told on stdin where the gateway is. A line of JSON for each.
// The same as python/run.py, which says more.

import { readFileSync } from "node:fs";

const told = JSON.parse(readFileSync(0, "utf8"));
const { make } = await import(`./${process.argv[2]}.mjs`);
const client = make(told);
for (const operation of told.operations) {
  let line;
  try {
    line = { operation, facts: await client[operation]() };
  } catch (e) {
    line = { operation, failed: String(e.stack ?? e).slice(-3000) };
  }
  console.log(JSON.stringify(line));
}
