// The TypeScript client v2, of either era: see tour.mjs. `mode` besides: "legacy", "auto" or a revision to be pinned to.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { answers, asked, capabilities, name, toured, watched } from "./tour.mjs";

const mode = ["legacy", "auto"].includes(asked.mode) ? asked.mode : { pin: asked.mode };
const changed = { onChanged: () => console.log("changed"), autoRefresh: false, debounceMs: 0 };
const client = new Client(name, {
  capabilities,
  versionNegotiation: { mode },
  ...(asked.watch ? { listChanged: { tools: changed } } : {}),
});
client.setRequestHandler("elicitation/create", answers.elicit);
client.setRequestHandler("sampling/createMessage", answers.sample);
client.setRequestHandler("roots/list", answers.roots);

const options = { requestInit: { headers: asked.headers } };
const transport =
  asked.transport === "stdio"
    ? new StdioClientTransport({ command: asked.command[0], args: asked.command.slice(1), env: asked.environment })
    : new (asked.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport)(new URL(asked.url), options);
await client.connect(transport);
if (asked.watch) await watched(client);
else await toured(client, (params, onprogress, signal) => client.callTool(params, { onprogress, signal }), () => client.getNegotiatedProtocolVersion());
