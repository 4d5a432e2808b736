// What tour-1.mjs and tour-2.mjs share, each with the client of its SDK. The one argument is JSON:
//   url or command, headers, environment, transport ("http", "sse" or "stdio"), steps, watch.
// Without `watch`: prints what was listed and what came of each step. With it: "ready", then a line for each change.
import { createInterface } from "node:readline";

export const asked = JSON.parse(process.argv[2]);
export const name = { name: "toolgate-tests", version: "1" };
export const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };
const filled = { name: "Ada", age: 36, reason: "because", tone: "warm" };

export const answers = {
  elicit({ params }) {
    if (params.mode === "url") return { action: "accept" };
    const wanted = Object.keys(params.requestedSchema.properties);
    return { action: "accept", content: Object.fromEntries(wanted.map((one) => [one, filled[one]])) };
  },
  sample: () => ({ role: "assistant", content: { type: "text", text: "Paris" }, model: "m", stopReason: "endTurn" }),
  roots: () => ({ roots: [{ uri: "file:///work", name: "work" }] }),
};

async function all(list, kind) {
  const found = [];
  let cursor;
  do {
    const page = await list(cursor === undefined ? undefined : { cursor });
    found.push(...page[kind]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

// A call that only ends if its progress is heard.
async function held(call, name, args, release) {
  const released = [];
  const result = await call({ name, arguments: args }, () => released.push(call({ name: release, arguments: args })));
  await Promise.all(released);
  return result;
}

// What is said after a call was given up: that its server knows.
async function dropped(call, name, args, until) {
  const giving = new AbortController();
  await call({ name, arguments: args }, () => giving.abort(), giving.signal).catch(() => undefined);
  return call({ name: until, arguments: args });
}

async function taken(client, call, [kind, ...what]) {
  const heard = [];
  try {
    if (kind === "call") return { result: await call({ name: what[0], arguments: what[1] }, (p) => heard.push(p.progress)), heard };
    if (kind === "held") return { result: await held(call, ...what) };
    if (kind === "dropped") return { result: await dropped(call, ...what) };
    if (kind === "read") return { result: await client.readResource({ uri: what[0] }) };
    if (kind === "prompt") return { result: await client.getPrompt({ name: what[0], arguments: what[1] }) };
    return { result: await client.complete({ ref: what[0], argument: what[1] }) };
  } catch (error) {
    return { error: { code: error.code ?? null, message: String(error.message) } };
  }
}

export async function toured(client, call, revision) {
  const outcomes = {};
  const listed = {
    tools: await all((page) => client.listTools(page), "tools"),
    prompts: await all((page) => client.listPrompts(page), "prompts"),
    resources: await all((page) => client.listResources(page), "resources"),
    resourceTemplates: await all((page) => client.listResourceTemplates(page), "resourceTemplates"),
  };
  for (const [key, step] of Object.entries(asked.steps)) outcomes[key] = await taken(client, call, step);
  console.log(JSON.stringify({ revision: revision(), server: client.getServerVersion(), ...listed, outcomes }));
  await client.close();
}

// Until standard input ends.
export async function watched(client) {
  console.log("ready");
  for await (const _ of createInterface({ input: process.stdin })) continue;
  await client.close();
}
