// The TypeScript SDK v1 through the whole OAuth dance: node oauth.mjs URL REDIRECT_URI TOOL ARGUMENTS. It prints the link a
// person is to open, reads from standard input where the browser was led to, and prints the tool's result.
import { createInterface } from "node:readline";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, redirectUrl, name, args] = process.argv.slice(2);
const kept = {};
const authProvider = {
  redirectUrl,
  clientMetadata: { client_name: "TypeScript tests", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  redirectToAuthorization: (link) => console.log(JSON.stringify({ open: link.href })),
};
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider });
const first = transport();
try {
  await new Client({ name: "toolgate-tests", version: "1" }).connect(first);
  throw new Error("it was let in without a token");
} catch (refused) {
  if (!(refused instanceof UnauthorizedError)) throw refused;
}
const lines = createInterface({ input: process.stdin });
const led = new URL((await lines[Symbol.asyncIterator]().next()).value);
lines.close();
await first.finishAuth(led.searchParams.get("code"));
const client = new Client({ name: "toolgate-tests", version: "1" });
await client.connect(transport());
const result = await client.callTool({ name, arguments: JSON.parse(args) });
console.log(JSON.stringify({ result, client: kept.client.client_id }));
await client.close();
