"""The client of the Python SDK: the same as client.mjs, from usage to output.

For a tool called `listen` it listens for changes until the stream is lost, and then again, for which it
gets another token.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qsl

import httpx2
from mcp import Client, ClientSession
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost

url, issuer, name, *tools = sys.argv[1:]


def tell(line):
    print(json.dumps(line), flush=True)


class Store:
    """Remembers the tokens of this process."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def watch(response):
    request = response.request
    is_form = request.headers.get("content-type") == "application/x-www-form-urlencoded"
    tell(
        {
            "method": request.method,
            "url": str(request.url),
            "status": response.status_code,
            "challenge": response.headers.get("www-authenticate"),
            "form": dict(parse_qsl(request.content.decode())) if is_form else None,
        }
    )


async def call(http, tool):
    async with streamable_http_client(url, http_client=http) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            result = await session.call_tool(tool, {"a": 2, "b": 3})
            return result.content[0].text


async def listen(http):
    def connected():
        return Client(streamable_http_client(url, http_client=http))

    async with connected() as client:
        try:
            async with client.listen(tools_list_changed=True) as changes:
                tell({"tool": "listen", "text": "listening"})
                async for _ in changes:
                    pass
            tell({"tool": "listen", "error": "the server is done"})
        except SubscriptionLost as lost:
            tell({"tool": "listen", "error": repr(lost)})
    while True:
        try:
            async with connected() as client, client.listen(tools_list_changed=True):
                return "listening again"
        except Exception:
            # A token that was issued in the same second is refused as well.
            pass


async def main():
    auth = ClientCredentialsOAuthProvider(url, Store(), name, f"{name}-secret", issuer=issuer)
    hooks = {"response": [watch]}
    async with httpx2.AsyncClient(auth=auth, event_hooks=hooks, timeout=120, trust_env=False) as http:
        for tool in tools:
            # A refusal by the authorization server is the end of a connection.
            try:
                does = listen(http) if tool == "listen" else call(http, tool)
                tell({"tool": tool, "text": await does})
            except Exception as error:
                tell({"tool": tool, "error": repr(error)})


asyncio.run(asyncio.wait_for(main(), 120))
