//! The whole way, against a real endpoint.
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use tokio::task::LocalSet;

use super::server::IssuerServer;
use super::*;

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA+/~==";

/// The clock of these tests is the real one: the service reads it itself.
fn now() -> u64 {
    crate::clock::unix_time().as_secs()
}

fn live_claims() -> Value {
    json!({"iss": ISSUER, "aud": "api", "sub": "user-1", "exp": now() + 600, "region": "eu"})
}

/// A verifier with its service running, and what the service was seen to do.
struct Running {
    verifier: Arc<Verifier>,
    results: Rc<RefCell<Vec<IntrospectionResult>>>,
    service: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(policies: Vec<IssuerPolicy>) -> Self {
        let verifier = Arc::new(Verifier::new(policies, None).unwrap());
        let service = verifier.take_introspection().unwrap();
        assert!(verifier.take_introspection().is_none(), "it runs once");
        let results = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&results);
        let service = tokio::task::spawn_local(async move {
            service.run(|result, _| noted.borrow_mut().push(result)).await.unwrap();
        });
        Self { verifier, results, service }
    }

    async fn ask(&self, token: &str) -> Result<VerifiedToken, TokenFault> {
        self.verifier.authenticate(token, now()).await
    }
}

/// What these tests wait for happens within seconds; that it never happens must fail rather than hang.
fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_mins(1), test).await.expect("waited in vain");
    });
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_question_is_as_rfc_7662_has_it_and_the_answer_is_believed_for_a_while() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let running = Running::start(vec![keyless(&issuer.url)]);
        let token = running.ask(TOKEN).await.unwrap();
        assert_eq!((token.issuer_index, token.subject.as_deref()), (0, Some("user-1")));
        assert_eq!(token.jurisdiction, ClaimValue::Text("eu".to_owned()));
        let kept_s = token.expires_at.unwrap() - now();
        assert!((1..=60).contains(&kept_s), "{kept_s}");
        assert_eq!(token.keys_version, running.verifier.ring().version());
        let [seen] = &issuer.seen()[..] else { panic!("{:?}", issuer.seen()) };
        assert_eq!((&*seen.method, &*seen.content_type), ("POST", "application/x-www-form-urlencoded"));
        assert_eq!(seen.body, "token=2YotnFZFEjr1zCsicMWpAA%2B%2F%7E%3D%3D&token_type_hint=access_token");
        // base64 of `gateway%20of%20ours:a%3Asecret%2Fwith%26signs`.
        let basic = "Basic Z2F0ZXdheSUyMG9mJTIwb3VyczphJTNBc2VjcmV0JTJGd2l0aCUyNnNpZ25z";
        assert_eq!(seen.authorization.as_deref(), Some(basic));
        // Others who ask for the same get what is known.
        assert_eq!(running.ask(TOKEN).await.unwrap().expires_at, token.expires_at);
        assert_eq!(issuer.seen().len(), 1);
        assert_eq!(*running.results.borrow(), [IntrospectionResult::Active]);
    });
}

#[test]
fn without_credentials_none_are_sent() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let mut policy = keyless(&issuer.url);
        policy.introspection.as_mut().unwrap().client = None;
        assert!(Running::start(vec![policy]).ask(TOKEN).await.is_ok());
        assert_eq!(issuer.seen()[0].authorization, None);
    });
}

#[test]
fn a_refused_token_is_asked_about_once() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        let running = Running::start(vec![keyless(&issuer.url)]);
        for _ in 0..5 {
            assert_eq!(running.ask(TOKEN).await, Err(TokenFault::Inactive));
        }
        assert_eq!(issuer.seen().len(), 1);
        assert_eq!(*running.results.borrow(), [IntrospectionResult::Inactive]);
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(running.ask(&long).await, Err(TokenFault::TooLong));
        assert_eq!(issuer.seen().len(), 1, "too long to be shown to anybody");
    });
}

#[test]
fn one_question_for_all_who_ask_whatever_their_thread() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        issuer.hold();
        let running = Running::start(vec![keyless(&issuer.url)]);
        let ask = || {
            let verifier = Arc::clone(&running.verifier);
            async move { verifier.authenticate(TOKEN, now()).await }
        };
        let here: Vec<_> = (0..50).map(|_| tokio::spawn(ask())).collect();
        let (asked, has_asked) = std::sync::mpsc::channel();
        let elsewhere: Vec<_> = (0..4)
            .map(|_| {
                let (ask, asked) = (ask(), asked.clone());
                std::thread::spawn(move || {
                    asked.send(()).unwrap();
                    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ask)
                })
            })
            .collect();
        for _ in &elsewhere {
            has_asked.recv().unwrap();
        }
        until(|| !issuer.seen().is_empty()).await;
        issuer.let_through(1);
        for waiting in here {
            assert!(waiting.await.unwrap().is_ok());
        }
        let joined = tokio::task::spawn_blocking(|| {
            elsewhere.into_iter().all(|thread| thread.join().unwrap().is_ok())
        });
        assert!(joined.await.unwrap());
        assert_eq!(issuer.seen().len(), 1);
    });
}

#[test]
fn what_is_no_answer_refuses_for_now_and_is_not_remembered() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let running = Running::start(vec![keyless(&issuer.url)]);
        let large = vec![b' '; 64 * 1024 + 1];
        let answers: [(StatusCode, &[u8]); 9] = [
            (StatusCode::UNAUTHORIZED, b"{\"active\":true}"),
            (StatusCode::FORBIDDEN, b""),
            (StatusCode::FOUND, b""),
            (StatusCode::INTERNAL_SERVER_ERROR, b"{\"active\":true}"),
            (StatusCode::CREATED, b"{\"active\":true}"),
            (StatusCode::OK, b"<html>"),
            (StatusCode::OK, b"{}"),
            (StatusCode::OK, b"{\"active\":\"yes\"}"),
            (StatusCode::OK, &large),
        ];
        for (status, body) in answers {
            issuer.say(Some((status, body)));
            let fault = running.ask(TOKEN).await.unwrap_err();
            assert_eq!(fault, TokenFault::IntrospectionUnavailable, "{status}");
            assert_eq!(fault.class(), FaultClass::IntrospectionUnavailable);
        }
        assert_eq!(*running.results.borrow(), [IntrospectionResult::Failed; 9]);
        issuer.say(None);
        assert!(running.ask(TOKEN).await.is_ok());
    });
}

#[test]
fn an_endpoint_that_is_silent_or_gone_refuses_for_now() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.hold();
        let mut policy = keyless(&issuer.url);
        policy.introspection.as_mut().unwrap().timeout = Duration::from_millis(50);
        let running = Running::start(vec![policy]);
        assert_eq!(running.ask(TOKEN).await, Err(TokenFault::IntrospectionUnavailable));
        let url = issuer.url.clone();
        drop(issuer);
        let running = Running::start(vec![keyless(&url)]);
        assert_eq!(running.ask("another").await, Err(TokenFault::IntrospectionUnavailable));
    });
}

/// More at once than may wait: some wait in vain, none for ever, and the endpoint never sees more than its share.
#[test]
fn a_flood_of_inventions_is_bounded_and_those_who_are_known_get_through() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let mut policy = keyless(&issuer.url);
        let introspection = policy.introspection.as_mut().unwrap();
        (introspection.per_second, introspection.keep) = (20, Duration::from_secs(1));
        let running = Running::start(vec![policy]);
        running.ask(TOKEN).await.unwrap();
        let begun = tokio::time::Instant::now();
        let flood: Vec<_> = (0..3000)
            .map(|n| {
                let verifier = Arc::clone(&running.verifier);
                tokio::spawn(async move { verifier.authenticate(&format!("invented-{n}"), now()).await })
            })
            .collect();
        // Its answer is believed for a second: sooner or later it is asked about again, amid the flood.
        until(|| flood.iter().filter(|one| one.is_finished()).count() > 1000).await;
        let mine = || issuer.seen().iter().filter(|seen| seen.body.contains("2Yotn")).count();
        while mine() < 3 {
            running.ask(TOKEN).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let strangers = issuer.seen().len() - mine();
        let most = 20.0 * (begun.elapsed().as_secs_f64() + 1.0);
        assert!(strangers as f64 <= most, "{strangers} of at most {most}");
        let mut limited = 0;
        for one in flood {
            match one.await.unwrap() {
                Err(TokenFault::IntrospectionLimited) => limited += 1,
                ended => assert_eq!(ended, Err(TokenFault::Inactive)),
            }
        }
        assert!(limited > 1000, "{limited}");
    });
}

#[test]
fn signed_tokens_are_not_shown_to_an_issuer_that_is_asked_about_others() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        let with_keys = IssuerPolicy { introspection: Some(introspection(&issuer.url)), ..policy() };
        let running = Running::start(vec![with_keys]);
        running.verifier.ring().publish(0, key_set(&all_jwks()));
        let good = sign(Algorithm::EdDsa, "ed", &live_claims());
        assert!(running.ask(&good).await.is_ok());
        let (message, _) = good.rsplit_once('.').unwrap();
        for forged in [format!("{message}."), format!("{message}.{}", b64([1; 64])), format!("{good}.")] {
            assert!(running.ask(&forged).await.is_err());
        }
        assert!(issuer.seen().is_empty());
        issuer.activate(TOKEN, live_claims());
        assert!(running.ask(TOKEN).await.is_ok(), "its opaque tokens are");
        // An issuer without keys that is asked about opaque tokens only has no good JWT.
        let running = Running::start(vec![keyless(&issuer.url)]);
        assert_eq!(running.ask(&good).await, Err(TokenFault::AlgorithmNotAllowed));
    });
}

#[test]
fn a_withdrawn_signed_token_is_refused_where_all_are_asked_about() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        let all = Introspection { tokens: IntrospectedTokens::All, ..introspection(&issuer.url) };
        let with_keys = IssuerPolicy { introspection: Some(all), ..policy() };
        let other = IssuerPolicy { issuer: Some("https://other.example".to_owned()), ..policy() };
        let running = Running::start(vec![other, with_keys]);
        for issuer_index in [0, 1] {
            running.verifier.ring().publish(issuer_index, key_set(&all_jwks()));
        }
        let token = |subject: &str| {
            let mut claims = live_claims();
            claims["sub"] = json!(subject);
            sign(Algorithm::EdDsa, "ed", &claims)
        };
        let (good, withdrawn, differs, moved) = (token("1"), token("2"), token("3"), token("4"));
        issuer.activate(&good, json!({"sub": "1", "region": "eu"}));
        issuer.activate(&differs, json!({"sub": "somebody else"}));
        issuer.activate(&moved, json!({"sub": "4", "region": "us"}));
        let verified = running.ask(&good).await.unwrap();
        assert_eq!((verified.issuer_index, verified.subject.as_deref()), (1, Some("1")));
        assert!(verified.expires_at.unwrap() <= now() + 60, "asked again before it expires");
        assert_eq!(running.ask(&withdrawn).await, Err(TokenFault::Inactive));
        assert_eq!(running.ask(&differs).await, Err(TokenFault::AnswerDiffers));
        assert_eq!(running.ask(&moved).await, Err(TokenFault::AnswerDiffers));
        let asked = issuer.seen().len();
        // A forgery ends at the signature, and another issuer's tokens are none of this one's business.
        let (message, _) = good.rsplit_once('.').unwrap();
        let forged = format!("{message}.{}", b64([1; 64]));
        assert_eq!(running.ask(&forged).await, Err(TokenFault::SignatureInvalid));
        let mut claims = live_claims();
        claims["iss"] = json!("https://other.example");
        assert_eq!(running.ask(&sign(Algorithm::EdDsa, "ed", &claims)).await.unwrap().issuer_index, 0);
        assert_eq!(issuer.seen().len(), asked);
    });
}

#[test]
fn an_issuer_without_keys_may_be_asked_about_its_signed_tokens_too() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        let mut policy = keyless(&issuer.url);
        policy.introspection.as_mut().unwrap().tokens = IntrospectedTokens::All;
        let token = sign(Algorithm::EdDsa, "ed", &live_claims());
        issuer.activate(&token, live_claims());
        let running = Running::start(vec![policy.clone()]);
        assert_eq!(running.ask(&token).await.unwrap().subject.as_deref(), Some("user-1"));
        // Beside another issuer, only those that claim to be its own.
        let other = IssuerPolicy { issuer: Some("https://other.example".to_owned()), ..super::policy() };
        let running = Running::start(vec![other, policy]);
        assert_eq!(running.ask(&token).await.unwrap().issuer_index, 1);
        let asked = issuer.seen().len();
        let mut claims = live_claims();
        claims["iss"] = json!("https://other.example");
        let others = sign(Algorithm::EdDsa, "ed", &claims);
        assert_eq!(running.ask(&others).await, Err(TokenFault::KeysUnavailable { issuer_index: 0 }));
        assert_eq!(issuer.seen().len(), asked);
    });
}

#[test]
fn a_withdrawal_is_noticed_when_the_answer_is_no_longer_believed() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let mut policy = keyless(&issuer.url);
        policy.introspection.as_mut().unwrap().keep = Duration::from_secs(1);
        let running = Running::start(vec![policy]);
        assert!(running.ask(TOKEN).await.is_ok());
        issuer.withdraw(TOKEN);
        while running.ask(TOKEN).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(running.ask(TOKEN).await, Err(TokenFault::Inactive));
        assert_eq!(issuer.seen().len(), 2);
    });
}

#[test]
fn a_reload_keeps_the_answers_of_an_issuer_that_stays_as_it_is() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        let running = Running::start(vec![keyless(&issuer.url)]);
        assert!(running.ask(TOKEN).await.is_ok());
        let other = IssuerPolicy { issuer: Some("https://other.example".to_owned()), ..policy() };
        let stays = vec![other, keyless(&issuer.url)];
        let next = Verifier::new(stays.clone(), Some(&running.verifier)).unwrap();
        assert!(next.take_introspection().is_none(), "the one that runs goes on");
        let Running { verifier, service, .. } = running;
        drop(verifier);
        assert_eq!(next.authenticate(TOKEN, now()).await.unwrap().issuer_index, 1);
        assert_eq!(issuer.seen().len(), 1);
        // Whatever changes, nothing is handed on.
        let longer = |policy: &mut IssuerPolicy| policy.introspection.as_mut().unwrap().keep *= 2;
        let changes: [fn(&mut IssuerPolicy); 3] = [
            |policy| policy.audiences = vec!["another".to_owned()],
            |policy| policy.claims.subject = ClaimPath::new("org_id").unwrap(),
            longer,
        ];
        for change in changes {
            let mut list = stays.clone();
            change(&mut list[1]);
            let renewed = Verifier::new(list, Some(&next)).unwrap();
            assert!(renewed.take_introspection().is_some(), "a new one, which remembers nothing");
        }
        drop(next);
        service.await.unwrap();
    });
}

/// A reload drops the verifier; who still waits is answered first.
#[test]
fn the_service_ends_with_its_verifier_after_the_last_answer() {
    bounded(async {
        let issuer = IssuerServer::start().await;
        issuer.activate(TOKEN, live_claims());
        issuer.hold();
        let Running { verifier, service, .. } = Running::start(vec![keyless(&issuer.url)]);
        let waiting = tokio::spawn(async move { verifier.authenticate(TOKEN, now()).await });
        until(|| !issuer.seen().is_empty()).await;
        assert!(!service.is_finished());
        issuer.let_through(1);
        assert!(waiting.await.unwrap().is_ok());
        service.await.unwrap();
        // Nobody waits for a service that was never started or is gone.
        let verifier = Verifier::new(vec![keyless(&issuer.url)], None).unwrap();
        drop(verifier.take_introspection());
        assert_eq!(verifier.authenticate(TOKEN, now()).await, Err(TokenFault::IntrospectionUnavailable));
    });
}

#[test]
fn credentials_and_tokens_are_in_no_debug_output() {
    let shown = format!("{:?}", keyless("https://auth.acme.example/introspect"));
    assert!(!shown.contains("secret/with") && shown.contains("redacted"), "{shown}");
}
