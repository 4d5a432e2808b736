// The TypeScript SDK v1, which speaks the handshake revisions: see tour.mjs.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, asked, capabilities, name, toured, watched } from "./tour.mjs";

let revision;
const client = new Client(name, { capabilities });
client.setRequestHandler(ElicitRequestSchema, answers.elicit);
client.setRequestHandler(CreateMessageRequestSchema, answers.sample);
client.setRequestHandler(ListRootsRequestSchema, answers.roots);
client.setNotificationHandler(ToolListChangedNotificationSchema, () => console.log("changed"));

const options = { requestInit: { headers: asked.headers } };
const transport =
  asked.transport === "stdio"
    ? new StdioClientTransport({ command: asked.command[0], args: asked.command.slice(1), env: asked.environment })
    : new (asked.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport)(new URL(asked.url), options);
const pinned = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  revision = version;
  pinned?.(version);
};
await client.connect(transport);
if (asked.watch) await watched(client);
else await toured(client, (params, onprogress, signal) => client.callTool(params, undefined, { onprogress, signal }), () => revision);
