//! `WebSocket`s, with a real client, through one gateway and through two.

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request};
use residency_loadtest::world::{Jurisdiction, Port, Region, World};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::user::{User, sent};
use crate::harness::within;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn request(world: &World, at: Region, token: Option<&str>) -> Request<()> {
    let url = format!("ws://{}/live", world.address(at, Port::GatewayHttp));
    let mut request = url.into_client_request().expect("a URL");
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
        request.headers_mut().insert("authorization", value);
    }
    request
}

/// The next message, as JSON.
async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = within("a message", socket.next()).await.expect("not the end").expect("a message");
        if let Message::Text(text) = message {
            return serde_json::from_str(text.as_str()).expect("JSON");
        }
    }
}

pub async fn a_websocket_is_served_at_home_wherever_it_was_opened(world: &World) {
    let user = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    for at in [Region::EuFrankfurt, Region::ApSingapore, Region::EuNuremberg] {
        let connecting = connect_async(request(world, at, Some(&user.token)));
        let (mut socket, response) = within("a handshake", connecting).await.expect("it is granted");
        assert_eq!(response.headers()["residency-served-by"], "eu-frankfurt");
        let hello = next(&mut socket).await;
        assert_eq!((&hello["type"], &hello["served_by"]), (&json!("hello"), &json!("eu-frankfurt")), "{at}");
        for text in ["hello", &"long ".repeat(10_000)] {
            socket.send(Message::text(text)).await.expect("it is taken");
            assert_eq!(next(&mut socket).await["data"], text);
        }
        // An order placed elsewhere is told here.
        let item = format!("tea seen at {at}");
        assert_eq!(user.order(world, Region::UsEast, &item).await.status, 201);
        let told = next(&mut socket).await;
        assert_eq!((&told["type"], &told["order"]["item"]), (&json!("order"), &json!(item)));
        socket.close(None).await.expect("it closes");
        let rest = within("the end", async {
            while let Some(message) = socket.next().await {
                if let Err(error) = message {
                    return Some(error);
                }
            }
            None
        });
        assert!(rest.await.is_none(), "the close is answered with one");
    }
}

pub async fn a_websocket_without_a_token_is_refused(world: &World) {
    let refused = within("a handshake", connect_async(request(world, Region::ApSingapore, None))).await;
    let Err(Error::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 401);
    // And a plain request there is one like any other.
    let answer = sent(world.call(Region::ApSingapore, Method::GET, "/live")).await;
    assert_eq!(answer.problem().as_deref(), Some("token-missing"));
}
