"""The client of the Python SDK: the same as client.mjs, from usage to output."""

import asyncio
import json
import sys
from urllib.parse import parse_qsl

import httpx2
from mcp import ClientSession
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

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


async def main():
    auth = ClientCredentialsOAuthProvider(url, Store(), name, f"{name}-secret", issuer=issuer)
    hooks = {"response": [watch]}
    async with httpx2.AsyncClient(auth=auth, event_hooks=hooks, timeout=120, trust_env=False) as http:
        for tool in tools:
            # A refusal by the authorization server is the end of a connection.
            try:
                tell({"tool": tool, "text": await call(http, tool)})
            except Exception as error:
                tell({"tool": tool, "error": repr(error)})


asyncio.run(asyncio.wait_for(main(), 120))
