// The authorization server of the interop tests: oidc-provider on a loopback port of its own choice.
//
// Prints one line of JSON when it is ready: `issuer`; `secret`, the secret of every client but
// `svc` and `guest`; `client_key`, the private key with which `rs-private-key` signs its
// assertions. Ends when its standard input does, so that it never outlives the tests.
//
// Tokens: `client_credentials` as `svc` with the secret `svc-secret`, and with one of these as `resource`
//   https://api.example.com/opaque    an opaque token for https://api.example.com
//   https://api.example.com/ALG       an at+jwt for it, signed by RS256, PS256, ES256 or EdDSA
//   https://other.example.com/...     the same for https://other.example.com
//   http://127.0.0.1:PORT/mcp         an at+jwt for that URL; also as `guest` with `guest-secret`, who
//                                     may ask for the scope calc and no other
// With a DPoP proof they are bound to its key (RFC 9449).
//
// Its argument may be a JSON object: `key`, `cert` and `ca`, in PEM. Then it listens with TLS too, at
// `mtls`, where `svc-mtls` gets the same tokens bound to its certificate (RFC 8705), which is for `client`,
// and `rs-mtls` introspects, whose certificate is for `api`.
//
// Control, on the same port:
//   POST /control/rotate?step=add|drop                 new keys sign; only the newest stay published.
//                                                      Opaque tokens are forgotten.
//   POST /control/fault?endpoint=E&mode=M              E: introspection, jwks. M: hang, 500, plain
//                                                      (ignores what the client accepts), none
//   GET  /control/stats                                requests received, by endpoint
//   POST /control/token?resource=R&sub=S&sid=I         a token of `svc` for the user S in the session I
//   POST /control/logout?uri=U&sub=S[&sid=I]           ends the session I, or without it all sessions of the
//                                                      user S: sends a logout token for `svc` to U, then
//                                                      revokes the tokens, as its end_session does.
//                                                      `refused`: the status of U, unless 200 or 204
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Provider, errors } from 'oidc-provider';

const API = 'https://api.example.com';
const OTHER = 'https://other.example.com';
const SECRET = 'more: 100% & a+b'; // only fits inside Basic once form-encoded (RFC 6749 2.3.1)
const SCOPES = ['read', 'write', 'calc', 'calc:admin'];
const JWT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];

const tls = process.argv[2] && JSON.parse(process.argv[2]);

// Standard output is for the ready line.
console.info = console.error;

// ---- keys

let generations = [newGeneration(1)];

function newGeneration(number) {
  const rsa = { modulusLength: 2048 };
  return [
    ['rs', 'rsa', rsa, 'RS256'],
    ['ps', 'rsa', rsa, 'PS256'],
    ['ec', 'ec', { namedCurve: 'P-256' }, 'ES256'],
    ['ed', 'ed25519', undefined, 'EdDSA'],
  ].map(([name, type, options, alg]) => {
    const { privateKey } = generateKeyPairSync(type, options);
    return { ...privateKey.export({ format: 'jwk' }), kid: `${name}-${number}`, use: 'sig', alg };
  });
}

const clientKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });

// ---- the provider

function client(id, more = {}) {
  return {
    client_id: id,
    client_secret: SECRET,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: SCOPES.join(' '),
    ...more,
  };
}

const clients = [
  client('svc', { client_secret: 'svc-secret' }),
  client('guest', { client_secret: 'guest-secret', scope: 'calc' }),
  client('rs-basic'),
  client('rs-post', { token_endpoint_auth_method: 'client_secret_post' }),
  client('rs-private-key', {
    client_secret: undefined,
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [{ ...clientKey.publicKey.export({ format: 'jwk' }), kid: 'rs', alg: 'ES256' }] },
  }),
  client('rs-signed-rs256', { introspection_signed_response_alg: 'RS256' }),
  client('rs-signed-es256', { introspection_signed_response_alg: 'ES256' }),
  ...(tls ? [
    client('svc-mtls', {
      ...certified('client'), tls_client_certificate_bound_access_tokens: true,
    }),
    client('rs-mtls', certified('api')),
  ] : []),
];

function certified(name) {
  return {
    client_secret: undefined,
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_san_dns: name,
  };
}

// What the connection shows; of one without TLS, nothing.
const shown = (ctx) => ctx.socket.getPeerX509Certificate?.();

const mTLS = {
  enabled: Boolean(tls),
  certificateBoundAccessTokens: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => shown(ctx)?.toString(),
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) => (
    property === 'tls_client_auth_san_dns' && shown(ctx).subjectAltName === `DNS:${expected}`
  ),
};

function getResourceServerInfo(_ctx, resource) {
  const { origin, pathname, hostname } = new URL(resource);
  const format = pathname.slice(1);
  if (hostname === '127.0.0.1' && format === 'mcp') {
    const jwt = { sign: { alg: 'ES256' } };
    return { audience: resource, scope: SCOPES.join(' '), accessTokenFormat: 'jwt', jwt };
  }
  if (origin !== API && origin !== OTHER) throw new errors.InvalidTarget();
  const common = { audience: origin, scope: SCOPES.join(' '), accessTokenTTL: 3600 };
  if (format === 'opaque') return { ...common, accessTokenFormat: 'opaque' };
  if (!JWT_ALGORITHMS.includes(format)) throw new errors.InvalidTarget();
  return { ...common, accessTokenFormat: 'jwt', jwt: { sign: { alg: format } } };
}

function newProvider(issuer) {
  const provider = new Provider(issuer, {
    clients,
    scopes: SCOPES,
    jwks: { keys: generations.flat() },
    cookies: { keys: ['unused'] },
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'private_key_jwt', ...(tls ? ['tls_client_auth'] : []),
    ],
    discovery: mtls && {
      mtls_endpoint_aliases: {
        token_endpoint: `${mtls}/token`, introspection_endpoint: `${mtls}/token/introspection`,
      },
    },
    enabledJWA: {
      clientAuthSigningAlgValues: ['ES256'],
      introspectionSigningAlgValues: ['RS256', 'ES256'],
      dPoPSigningAlgValues: ['ES256', 'Ed25519', 'PS256', 'RS256'],
    },
    extraTokenClaims: (_ctx, { sid }) => sid && { sid },
    // Without its dispatcher, which refuses loopback addresses.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      dPoP: { enabled: true },
      mTLS,
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo,
        useGrantedResource: () => true,
      },
    },
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
  return provider;
}

// ---- users

let sessions = []; // of users: `sub`, `sid` and the grant of their tokens

async function token(query) {
  const [resource, sub, sid] = ['resource', 'sub', 'sid'].map((name) => query.get(name));
  const svc = await provider.Client.find('svc');
  const grant = new provider.Grant({ accountId: sub, clientId: svc.clientId });
  grant.addResourceScope(resource, 'read');
  const grantId = await grant.save(3600);
  sessions.push({ sub, sid, grantId });
  const info = getResourceServerInfo(undefined, resource);
  const access = new provider.AccessToken({
    client: svc, accountId: sub, sid, grantId, gty: 'authorization_code', scope: 'read',
    resourceServer: new provider.ResourceServer(resource, info),
  });
  return { access_token: await access.save() };
}

async function logout(query) {
  const [uri, sub, sid] = ['uri', 'sub', 'sid'].map((name) => query.get(name));
  const svc = await provider.Client.find('svc');
  svc.backchannelLogoutUri = uri;
  svc.backchannelLogoutSessionRequired = sid !== null;
  const refused = await svc.backchannelLogout(sub, sid).then(() => undefined, (error) => {
    if (!error.response) throw error;
    return error.response.status;
  });
  const isEnded = (session) => session.sub === sub && (sid === null || session.sid === sid);
  const ended = sessions.filter(isEnded);
  sessions = sessions.filter((session) => !isEnded(session));
  await Promise.all(ended.map(({ grantId }) => provider.AccessToken.revokeByGrantId(grantId)));
  return { refused };
}

// ---- requests

const ENDPOINTS = [
  ['/token/introspection', 'introspection'],
  ['/token/revocation', 'revocation'],
  ['/token', 'token'],
  ['/jwks', 'jwks'],
  ['/.well-known/', 'discovery'],
];

let provider;
let answer; // the provider, as a request listener
const stats = {};
const faults = {};
const hanging = new Set();

function reply(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function start() {
  provider = newProvider(issuer);
  answer = provider.callback();
}

function control(url, response) {
  const { searchParams } = url;
  switch (url.pathname) {
    case '/control/rotate':
      if (searchParams.get('step') === 'add') {
        const number = 1 + Number(generations[0][0].kid.split('-')[1]);
        generations = [newGeneration(number), ...generations]; // the first that fits signs
      } else {
        generations = generations.slice(0, 1);
      }
      start();
      return reply(response, 200, { kids: generations.flat().map(({ kid }) => kid) });
    case '/control/fault':
      faults[searchParams.get('endpoint')] = searchParams.get('mode');
      for (const held of hanging) held.destroy();
      hanging.clear();
      return reply(response, 200, faults);
    case '/control/stats':
      return reply(response, 200, stats);
    case '/control/token':
    case '/control/logout':
      return (url.pathname === '/control/token' ? token : logout)(searchParams).then(
        (done) => reply(response, 200, done),
        (error) => reply(response, 502, { error: error.message }),
      );
    default:
      return reply(response, 404, {});
  }
}

function handle(request, response) {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith('/control/')) return control(url, response);

  const [, endpoint = 'other'] = ENDPOINTS.find(([path]) => url.pathname.startsWith(path)) ?? [];
  stats[endpoint] = (stats[endpoint] ?? 0) + 1;
  switch (faults[endpoint]) {
    case 'hang': return hanging.add(response);
    case '500': return reply(response, 500, { error: 'server_error' });
    case 'plain':
      delete request.headers.accept;
      return answer(request, response);
    default: return answer(request, response);
  }
}

async function listen(server) {
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return server.address().port;
}

const issuer = `http://127.0.0.1:${await listen(createServer(handle))}`;
const mtls = tls && `https://localhost:${await listen(
  createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: false }, handle),
)}`;
start();

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({
  issuer,
  mtls,
  secret: SECRET,
  client_key: clientKey.privateKey.export({ type: 'pkcs8', format: 'pem' }),
})}\n`);
