use super::*;

mod documents;
mod requests;

const JSON: &[u8] = b"application/json";

fn post<'request>(content_type: &'request [u8], body: &'request [u8]) -> GraphQlRequest<'request> {
    GraphQlRequest { method: "POST", query: None, content_type: Some(content_type), body: Some(body) }
}

fn is_read(request: &GraphQlRequest<'_>) -> bool {
    GraphQlRule::default().access_of(request) == Access::Read
}

/// A document alone.
fn reads(text: &str) -> bool {
    is_read(&post(b"application/graphql", text.as_bytes()))
}
