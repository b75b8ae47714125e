// A client with DPoP-bound tokens: oauth4webapi, which makes the proofs and minds the nonces.
//
// Reads one JSON object from its argument: `issuer`; `api`, the URL of the resource server; `format`, the
// token to ask for (see server.mjs); `alg`, of the proofs; `h2`, to speak HTTP/2 in the clear. Prints one:
// what became of each request, and of what a thief could do with what it has seen.
import { connect } from 'node:http2';
import * as oauth from 'oauth4webapi';
import { bound, client, insecure, twice } from './bound.mjs';

const { issuer, api, format, alg, h2 } = JSON.parse(process.argv[2]);
const { DPoP, token } = await bound(issuer, format, alg);

// ---- requests

const seen = [];
const session = h2 && connect(api);

/** `fetch`, over HTTP/2 without TLS, which Node's own does not speak. */
function fetchH2(url, { method, headers }) {
  const { pathname, search } = new URL(url);
  const stream = session.request({
    ':method': method, ':path': pathname + search, ...Object.fromEntries(new Headers(headers)),
  });
  return new Promise((resolve, reject) => {
    let body = '';
    let head;
    stream.on('response', (received) => { head = received; });
    stream.on('data', (chunk) => { body += chunk; });
    stream.on('end', () => {
      const fields = Object.entries(head).filter(([name]) => !name.startsWith(':'));
      const received = new Headers();
      for (const [name, value] of fields) [value].flat().forEach((one) => received.append(name, one));
      resolve(new Response(body, { status: head[':status'], headers: received }));
    });
    stream.on('error', reject);
    stream.end();
  });
}

const send = h2 ? fetchH2 : fetch;

function request(method, path) {
  return oauth.protectedResourceRequest(token.access_token, method, new URL(path, api), undefined, undefined, {
    DPoP,
    ...insecure,
    [oauth.customFetch]: (url, options) => {
      seen.push({ url, method, headers: Object.fromEntries(new Headers(options.headers)) });
      return send(url, options);
    },
  });
}

const answers = [];
for (const [method, path] of [['GET', '/'], ['GET', '/?a=b'], ['POST', '/'], ['GET', '/caf%C3%A9/%7Euser'], ['GET', '/']]) {
  const { response, asked } = await twice(() => request(method, path));
  answers.push({ status: response.status, asked });
}

// ---- misuse

async function misuse(url, method, headers) {
  const response = await send(url, { method, headers });
  const error = /error="([a-z_]+)"/.exec(response.headers.get('www-authenticate'));
  return `${response.status} ${error?.[1]}`;
}

const last = seen.at(-1);
const thief = oauth.DPoP(client, await oauth.generateKeyPair(alg));
let stolen;
try {
  await twice(() => oauth.protectedResourceRequest(token.access_token, 'GET', new URL('/', api), undefined, undefined,
    { DPoP: thief, ...insecure, [oauth.customFetch]: send }));
} catch (error) {
  stolen = `${error.status} ${error.cause.find(({ scheme }) => scheme === 'dpop').parameters.error}`;
}
console.log(JSON.stringify({
  token_type: token.token_type,
  answers,
  replayed: await misuse(last.url, last.method, last.headers),
  elsewhere: await misuse(new URL('/other', api), last.method, last.headers),
  as_bearer: await misuse(last.url, last.method, { authorization: `Bearer ${token.access_token}`, dpop: last.headers.dpop }),
  bare: await misuse(last.url, last.method, { authorization: last.headers.authorization }),
  stolen,
}));
if (session) session.close();
