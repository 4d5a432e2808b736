// The TypeScript client v2, pinned to revision 2026-07-28: node modern.mjs URL KEY TOOL ARGUMENTS. Prints one JSON object.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, name, args] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const client = new Client({ name: "toolgate-tests", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const { tools } = await client.listTools();
const progress = [];
const result = await client.callTool({ name, arguments: JSON.parse(args) }, { onprogress: (p) => progress.push(p) });
console.log(JSON.stringify({ tools: tools.map((t) => t.name), progress, result }));
await client.close();
