//! The tools, the scopes that each requires, and the server that offers them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        SubscriptionFilter, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tower_introspect::VerifiedToken;

/// One tool.
///
/// The same table lists, guards and calls the tools, so no tool lacks its scopes.
pub(crate) struct Entry {
    name: &'static str,
    description: &'static str,
    /// The scopes that a call requires.
    pub(crate) scopes: &'static [&'static str],
    arguments: &'static [&'static str],
    call: fn(&Calculator, &JsonObject, &VerifiedToken) -> Result<String, &'static str>,
}

pub(crate) const TOOLS: [Entry; 2] = [
    Entry {
        name: "add",
        description: "Adds two numbers.",
        scopes: &["calc"],
        arguments: &["a", "b"],
        call: |calculator, arguments, _| {
            let number = |name| arguments.get(name).and_then(Value::as_f64);
            let (Some(a), Some(b)) = (number("a"), number("b")) else {
                return Err("give two numbers, a and b");
            };
            calculator.additions.fetch_add(1, Ordering::Relaxed);
            Ok((a + b).to_string())
        },
    },
    Entry {
        name: "reset",
        description: "Forgets how many additions there were.",
        scopes: &["calc", "calc:admin"],
        arguments: &[],
        call: |calculator, _, token| {
            let count = calculator.additions.swap(0, Ordering::Relaxed);
            let who = token.subject().unwrap_or("nobody");
            Ok(format!("{count} additions, forgotten for {who}"))
        },
    },
];

/// Returns the tool of this name.
pub(crate) fn tool(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// The MCP server.
#[derive(Clone, Default)]
pub(crate) struct Calculator {
    additions: Arc<AtomicU64>,
}

impl ServerHandler for Calculator {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("calculator", env!("CARGO_PKG_VERSION")))
    }

    /// Clients may listen for changes of the list, although it never changes here. Their streams end
    /// with their tokens.
    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(TOOLS.iter().map(Entry::describe).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // The outer layers left the head of the HTTP request, with the token in its extensions.
        let parts = context.extensions.get::<Parts>();
        let token = parts.and_then(|parts| parts.extensions.get::<VerifiedToken>());
        let token =
            token.ok_or_else(|| ErrorData::internal_error("no token was verified", None))?;
        let tool = tool(&request.name)
            .ok_or_else(|| ErrorData::invalid_params("there is no such tool", None))?;
        let arguments = request.arguments.unwrap_or_default();
        let result = match (tool.call)(self, &arguments, token) {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        };
        Ok(result.into())
    }
}

impl Entry {
    fn describe(&self) -> Tool {
        let number = |name: &&'static str| ((*name).to_owned(), json!({"type": "number"}));
        let properties: JsonObject = self.arguments.iter().map(number).collect();
        let mut schema = JsonObject::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        schema.insert("required".into(), json!(self.arguments));
        Tool::new(self.name, self.description, schema)
    }
}
