// The TypeScript SDK v1 client (handshake revisions): node legacy.mjs URL KEY TOOL ARGUMENTS [ANSWER]. Prints one JSON object.
// ANSWER: what is filled into every form it is asked; without it, it cannot be asked.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, key, name, args, answer] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const client = new Client({ name: "toolgate-tests", version: "1" }, { capabilities: answer ? { elicitation: {} } : {} });
if (answer) client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: JSON.parse(answer) }));
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const { tools } = await client.listTools();
const progress = [];
const result = await client.callTool({ name, arguments: JSON.parse(args) }, undefined, { onprogress: (p) => progress.push(p) });
await client.ping();
console.log(JSON.stringify({ server: client.getServerVersion(), tools: tools.map((t) => t.name), progress, result }));
await client.close();
