// Opens the streams of the API as a web page does, and shows what the page sees of them.
'use strict';

const EVENTS = '/payments/events';
const element = (id) => document.getElementById(id);
let token;
let socket;

function show(list, text) {
  const line = document.createElement('li');
  line.textContent = text;
  element(list).append(line);
}

function withToken(init = {}) {
  // The cookie is a second place of a token, and a request may have only one.
  return { ...init, credentials: 'omit', headers: { Authorization: `Bearer ${token}` } };
}

// What a web application does by OAuth: gets a token, and then the cookie for EventSource.
async function signIn() {
  const wanted = new URLSearchParams({ user: element('user').value, seconds: element('seconds').value });
  const response = await fetch(`/demo/token?${wanted}`, { method: 'POST' });
  token = await response.text();
  await fetch('/session', { ...withToken({ method: 'POST' }), credentials: 'same-origin' });
}

// Reads on with the token of the moment, until that is refused.
async function readByFetch() {
  for (;;) {
    const response = await fetch(EVENTS, withToken());
    if (!response.ok) {
      show('fetch', `refused with ${response.status}`);
      return;
    }
    show('fetch', 'open');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        show('fetch', part.value.match(/^data: ?(.*)$/m)?.[1] ?? part.value);
      }
      show('fetch', 'the stream ends');
    } catch (error) {
      show('fetch', `the connection breaks: ${error}`);
    }
  }
}

// Asks again by itself after the end of a stream, and stops when that is refused.
function readByEventSource() {
  const source = new EventSource(EVENTS);
  source.onopen = () => show('source', 'open');
  source.addEventListener('payment', (event) => show('source', event.data));
  source.onerror = () => {
    const closed = source.readyState === EventSource.CLOSED;
    show('source', closed ? 'refused, and stops' : 'the stream ends, and it asks again');
  };
}

function talk() {
  // The token is the protocol after the one that is spoken.
  socket = new WebSocket(`ws://${location.host}/payments/socket`, ['access_token', token]);
  socket.onopen = () => show('socket', `open, and speaks ${socket.protocol}`);
  socket.onmessage = (event) => show('socket', event.data);
  socket.onclose = (event) => show('socket', `closed with ${event.code} ${event.reason}`);
}

element('open').onclick = async () => {
  await signIn();
  readByFetch();
  readByEventSource();
  talk();
};

element('renew').onclick = async () => {
  await signIn();
  // The events take the new token when they are asked for again.
  socket.send(JSON.stringify({ renew: token }));
};

element('sign-out').onclick = () => fetch('/sign-out', withToken({ method: 'POST' }));
