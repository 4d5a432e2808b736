// The TypeScript client v2, pinned to revision 2026-07-28: node modern.mjs URL KEY TOOL ARGUMENTS [ANSWER]. Prints one JSON object.
// ANSWER: what is filled into every form it is asked; without it, it cannot be asked.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, name, args, answer] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const capabilities = answer ? { elicitation: {} } : {};
const options = { capabilities, versionNegotiation: { mode: { pin: "2026-07-28" } } };
const client = new Client({ name: "toolgate-tests", version: "1" }, options);
if (answer) client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: JSON.parse(answer) }));
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const { tools } = await client.listTools();
const progress = [];
const result = await client.callTool({ name, arguments: JSON.parse(args) }, { onprogress: (p) => progress.push(p) });
console.log(JSON.stringify({ tools: tools.map((t) => t.name), progress, result }));
await client.close();
