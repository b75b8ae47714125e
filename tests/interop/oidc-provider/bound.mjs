// What the clients with DPoP-bound tokens have in common: keys, and a token that is bound to them.
import * as oauth from 'oauth4webapi';

export const client = { client_id: 'svc' };
export const insecure = { [oauth.allowInsecureRequests]: true };

/** Asks again once, if told a nonce. */
export async function twice(send) {
  try {
    return { response: await send(), asked: 1 };
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return { response: await send(), asked: 2 };
  }
}

/** Keys for `alg`, what makes proofs with them, and a token in `format` (see server.mjs). */
export async function bound(issuer, format, alg) {
  const keys = await oauth.generateKeyPair(alg);
  const DPoP = oauth.DPoP(client, keys);
  const as = await oauth.processDiscoveryResponse(new URL(issuer),
    await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...insecure }));
  const grant = new URLSearchParams({ scope: 'read', resource: `https://api.example.com/${format}` });
  const secret = oauth.ClientSecretBasic('svc-secret');
  const { response: granted } = await twice(() => oauth.clientCredentialsGrantRequest(
    as, client, secret, grant, { DPoP, ...insecure },
  ));
  return { keys, DPoP, token: await oauth.processClientCredentialsResponse(as, client, granted) };
}
