// The client of the TypeScript SDK, which is told a URL and its own credentials, and calls tools.
//
// usage: client.mjs URL ISSUER CLIENT TOOL...
//
// The secret of a client is its name and `-secret`. ISSUER is where the credentials may be sent to; it
// is compared with what is found, not looked for. Prints one line of JSON for each request (`method`,
// `url`, `status`, `challenge`, `form`), and for each tool either `text` or `error`.
import { extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js';
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [url, issuer, name, ...tools] = process.argv.slice(2);
setTimeout(() => process.exit(3), 120_000).unref();

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// For client credentials the SDK asks for the scope that was configured, whatever a challenge says. An
// application that wants to step up does as this one.
let wanted;
class Willing extends ClientCredentialsProvider {
  prepareTokenRequest() {
    return super.prepareTokenRequest(wanted);
  }
}

async function watched(target, init) {
  const response = await fetch(target, init);
  wanted = extractWWWAuthenticateParams(response).scope ?? wanted;
  tell({
    method: init?.method ?? 'GET',
    url: String(target),
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    form: init?.body instanceof URLSearchParams ? Object.fromEntries(init.body) : null,
  });
  return response;
}

const authProvider = new Willing({
  clientId: name,
  clientSecret: `${name}-secret`,
  expectedIssuer: issuer,
});
const client = new Client({ name: 'interop', version: '0' });
const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider, fetch: watched });
await client.connect(transport);
for (const tool of tools) {
  try {
    const result = await client.callTool({ name: tool, arguments: { a: 2, b: 3 } });
    tell({ tool, text: result.content[0].text });
  } catch (error) {
    tell({ tool, error: String(error) });
  }
}
await client.close();
process.exit(0);
