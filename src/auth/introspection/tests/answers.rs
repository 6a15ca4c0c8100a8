use super::super::answer::{Judge, NoAnswer};
use super::*;

/// The claims of everyday, as an answer.
fn active() -> Value {
    let mut answer = claims();
    answer["active"] = json!(true);
    answer
}

fn with(name: &str, value: Value) -> Value {
    let mut answer = active();
    answer[name] = value;
    answer
}

fn without(name: &str) -> Value {
    let mut answer = active();
    answer.as_object_mut().unwrap().remove(name);
    answer
}

fn judge(policy: &IssuerPolicy) -> Judge {
    Judge::new(policy, Duration::from_mins(1))
}

fn read(answer: &Value, signed: bool) -> Result<Meaning, TokenFault> {
    judge(&policy()).read(answer.to_string().as_bytes(), signed, NOW).unwrap()
}

#[test]
fn a_good_answer_means_what_a_tokens_claims_would() {
    let meaning = read(&active(), false).unwrap();
    assert_eq!(meaning.subject.as_deref(), Some("user-1"));
    assert_eq!(meaning.jurisdiction, ClaimValue::Text("eu".to_owned()));
    assert_eq!((meaning.expires_at, meaning.not_before), (NOW + 60, Some(NOW - 5)));
    let short = read(&with("exp", json!(NOW + 7)), false).unwrap();
    assert_eq!(short.expires_at, NOW + 7, "never longer than the token itself");
}

#[test]
fn answers_are_judged_like_claims() {
    use RegisteredClaim::{Aud, Exp, Iss, Nbf, Sub};
    let cases = [
        (json!({"active": false}), TokenFault::Inactive),
        (with("active", json!(false)), TokenFault::Inactive),
        (with("exp", json!(NOW)), TokenFault::Expired),
        (with("exp", json!((NOW + 60).to_string())), TokenFault::ClaimWrongType(Exp)),
        (without("exp"), TokenFault::ClaimMissing(Exp)),
        (with("nbf", json!(NOW + 1)), TokenFault::NotYetValid),
        (with("nbf", json!(null)), TokenFault::ClaimWrongType(Nbf)),
        (with("iss", json!("https://elsewhere.example")), TokenFault::IssuerUnknown),
        (with("iss", json!([ISSUER])), TokenFault::ClaimWrongType(Iss)),
        (with("aud", json!("another")), TokenFault::AudienceMismatch),
        (with("aud", json!(["a", 1])), TokenFault::ClaimWrongType(Aud)),
        (without("aud"), TokenFault::ClaimMissing(Aud)),
        (with("sub", json!(7)), TokenFault::ClaimWrongType(Sub)),
        (with("sub", json!("")), TokenFault::SubjectWrongType),
        (with("token_use", json!("refresh_token")), TokenFault::NotAnAccessToken),
        (with("token_use", json!("id")), TokenFault::NotAnAccessToken),
        (with("token_use", json!(1)), TokenFault::NotAnAccessToken),
        (with("typ", json!("Refresh")), TokenFault::NotAnAccessToken),
        (with("typ", json!("ID")), TokenFault::NotAnAccessToken),
    ];
    for (answer, expected) in cases {
        assert_eq!(read(&answer, false), Err(expected), "{answer}");
    }
    for good in [
        without("iss"),
        without("nbf"),
        without("sub"),
        with("aud", json!(["x", "api"])),
        with("token_use", json!("access_token")),
        with("typ", json!("Bearer")),
        with("token_type", json!("Bearer")),
        with("unknown", json!({"a": [1]})),
    ] {
        assert!(read(&good, false).is_ok(), "{good}");
    }
}

/// A signed token has said all that is required; the answer must only not speak against it.
#[test]
fn a_signed_tokens_answer_needs_to_say_no_more_than_active() {
    let meaning = read(&json!({"active": true}), true).unwrap();
    assert_eq!((meaning.subject, meaning.expires_at), (None, NOW + 60));
    assert_eq!(read(&json!({"active": true, "exp": NOW}), true), Err(TokenFault::Expired));
    assert_eq!(read(&json!({"active": true, "aud": "x"}), true), Err(TokenFault::AudienceMismatch));
    assert_eq!(read(&json!({"active": false}), true), Err(TokenFault::Inactive));
}

#[test]
fn leeway_and_claims_are_the_policys() {
    let names = ClaimNames {
        jurisdiction: ClaimPath::new("app.where").unwrap(),
        subject: ClaimPath::new("org_id").unwrap(),
    };
    let policy = IssuerPolicy { leeway: Duration::from_secs(30), claims: names, ..policy() };
    let mut answer = with("exp", json!(NOW - 20));
    answer["org_id"] = json!("acme");
    answer["app"] = json!({"where": "us"});
    let meaning = judge(&policy).read(answer.to_string().as_bytes(), false, NOW).unwrap().unwrap();
    assert_eq!(meaning.subject.as_deref(), Some("acme"));
    assert_eq!(meaning.jurisdiction, ClaimValue::Text("us".to_owned()));
    assert_eq!(meaning.expires_at, NOW + 10);
}

#[test]
fn what_is_no_answer_tells_neither_good_nor_bad() {
    let twice = format!(r#"{{"active":false,{}"#, &active().to_string()[1..]);
    let inner = r#"{"active":true,"app":{"region":"eu","region":"us"}}"#;
    let bodies = [
        "",
        "true",
        "[]",
        "{}",
        "<html>",
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":null}"#,
        r#"{"active":true}{}"#,
        r#"{"active":true"#,
        &twice,
        inner,
    ];
    for body in bodies {
        assert_eq!(judge(&policy()).read(body.as_bytes(), false, NOW), Err(NoAnswer), "{body}");
    }
}

/// Which tokens are signed JWTs, and so never shown to an issuer that is asked about others only.
#[test]
fn what_says_that_it_is_a_signed_jwt() {
    use crate::auth::token::is_signed_jwt;
    let signed = sign(Algorithm::EdDsa, "ed", &claims());
    let object = b64(r#"{"alg":"none"}"#);
    for token in [
        signed.clone(),
        format!("{signed}."),
        format!("{object}.."),
        format!("{object}.x"),
        format!("{}.e30.x", b64("  { \"alg\": \"RS256\"}")),
    ] {
        assert!(is_signed_jwt(&token), "{token}");
    }
    for token in [
        String::new(),
        "2YotnFZFEjr1zCsicMWpAA".to_owned(),
        "ya29.a0AfH6SMBx.tail".to_owned(),
        "v4.public.eyJhIjoxfQ".to_owned(),
        "...".to_owned(),
        "ory_at_abc.def".to_owned(),
        object.clone(),
        // Encrypted: five parts.
        format!("{object}.a.b.c.d"),
        format!("{}.e30.x", b64("[1]")),
    ] {
        assert!(!is_signed_jwt(&token), "{token}");
    }
}
