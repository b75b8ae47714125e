// A gRPC client with DPoP-bound tokens: @grpc/grpc-js, which reads the .proto itself, and dpop, which makes
// the proofs. What a client has to do besides is here: to read the nonce from the metadata.
//
// Reads one JSON object from its argument: `issuer`; `target`, where the service listens; `origin`, where
// it says it is; `proto`, the file; `format`, the token to ask for (see server.mjs); `alg`, of the proofs.
// Then one command a line from standard input, and prints a line of JSON for each: `calls`, `misuse`, `hello`
// and `retry`.
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { generateKeyPair, generateProof } from 'dpop';
import { bound } from './bound.mjs';

const { issuer, target, origin, proto, format, alg } = JSON.parse(process.argv[2]);
const { keys, token: { access_token: token, token_type } } = await bound(issuer, format, alg);

const { Greeter } = grpc.loadPackageDefinition(loader.loadSync(proto)).greeter;
const methods = Greeter.service;
const plain = new Greeter(target, grpc.credentials.createInsecure());
const retrying = new Greeter(target, grpc.credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify({
    methodConfig: [{
      name: [{ service: 'greeter.Greeter' }],
      retryPolicy: {
        maxAttempts: 3,
        initialBackoff: '0.01s',
        maxBackoff: '0.01s',
        backoffMultiplier: 1,
        retryableStatusCodes: ['UNAVAILABLE'],
      },
    }],
  }),
});

/** What becomes of one call with these credentials. */
function send(stub, method, credentials) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(credentials)) metadata.set(name, value);
  const options = { deadline: Date.now() + 20_000 };
  return new Promise((resolve) => {
    const replies = [];
    let nonce;
    const end = (error) => {
      // Of a refusal, which is trailers only, it is with the trailers; of a success, ahead of the reply.
      nonce = error?.metadata.get('dpop-nonce')[0] ?? nonce;
      const told = error?.metadata.get('www-authenticate').join(', ') ?? '';
      const code = error?.code ?? 0;
      resolve({ code, error: /error="([a-z_]+)"/.exec(told)?.[1], nonce, replies });
    };
    const { responseStream } = methods[method];
    const call = responseStream
      ? stub[method]({}, metadata, options)
      : stub[method]({}, metadata, options, (error, reply) => {
        if (reply) replies.push(reply.message);
        end(error);
      });
    call.on('metadata', (initial) => { [nonce] = initial.get('dpop-nonce'); });
    if (responseStream) {
      call.on('data', (reply) => replies.push(reply.message));
      call.on('error', end);
      call.on('end', () => end());
    }
  });
}

const url = (method, base = origin) => base + methods[method].path;
let nonce;

function proof(htu, { htm = 'POST', by = keys } = {}) {
  return generateProof(by, htu, htm, nonce, token);
}

/** Calls a method, and again if told a nonce. */
async function call(method, stub = plain) {
  for (let asked = 1; ; asked += 1) {
    const credentials = { authorization: `DPoP ${token}`, dpop: await proof(url(method)) };
    const { nonce: told, ...outcome } = await send(stub, method, credentials);
    const renewed = told !== undefined;
    nonce = told ?? nonce;
    if (outcome.error !== 'use_dpop_nonce' || asked === 2) return { ...outcome, asked, renewed };
  }
}

const dpop = `DPoP ${token}`;
const other = await generateKeyPair(alg);

async function misuse(credentials, method = 'SayHello') {
  const { code, error, replies } = await send(plain, method, credentials);
  return `${code} ${error} ${replies.length}`;
}

const commands = {
  async calls() {
    const answers = [];
    for (const method of ['SayHello', 'WatchGreeting', 'SayHello']) answers.push(await call(method));
    return { token_type, answers };
  },

  async misuse() {
    const used = { authorization: dpop, dpop: await proof(url('SayHello')) };
    return {
      good: await misuse(used),
      replayed: await misuse(used),
      bare: await misuse({ authorization: dpop }),
      other_method: await misuse({ authorization: dpop, dpop: await proof(url('WatchGreeting')) }),
      stream: await misuse({ authorization: dpop, dpop: await proof(url('SayHello')) }, 'WatchGreeting'),
      inside: await misuse({ authorization: dpop, dpop: await proof(url('SayHello', `http://${target}`)) }),
      get: await misuse({ authorization: dpop, dpop: await proof(url('SayHello'), { htm: 'GET' }) }),
      stolen: await misuse({ authorization: dpop, dpop: await proof(url('SayHello'), { by: other }) }),
      as_bearer: await misuse({ authorization: `Bearer ${token}`, dpop: await proof(url('SayHello')) }),
      bare_bearer: await misuse({ authorization: `Bearer ${token}` }),
    };
  },

  hello: () => call('SayHello'),
  retry: () => call('Version', retrying),
};

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await commands[line]())}\n`);
}
plain.close();
retrying.close();
