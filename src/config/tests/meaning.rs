//! What a right file means.

use std::time::Duration;

use crate::auth::{Algorithm, IntrospectedTokens, KeySource, RequiredClaims, TokenSource};
use crate::domain::countries::Country;
use crate::domain::decide::{Access, Reads};
use crate::domain::graphql::GraphQlRule;
use crate::domain::named::NameSource;
use crate::domain::routes::AccessRule;
use crate::domain::topology::Mode;
use crate::domain::upstream_groups::UpstreamGroup;

use super::*;
use crate::config::{AccessLogTarget, Endpoint, ReloadOn, TlsVersion};

#[test]
fn every_section_arrives() {
    let config = Config::parse(TWO_REGIONS, Path::new("/etc/residency/two.toml"), &complete_environment())
        .expect("it is right")
        .config;
    let topology = &config.topology;
    let [us, eu] = ["us", "eu"].map(|name| topology.jurisdiction(name).expect(name));
    let [here, frankfurt] = ["us-east", "eu-frankfurt"].map(|name| topology.region(name).expect(name));
    assert_eq!(config.region, here);
    assert_eq!((topology.home(us), topology.home(eu)), (here, frankfurt));
    assert_eq!((topology.lawful_regions(us).len(), topology.lawful_regions(eu).len()), (2, 1));
    assert_eq!((topology.mode(us), topology.mode(eu)), (Mode::Enforce, Mode::Observe));
    assert_eq!(topology.jurisdiction_of_claim("US"), Some(us));
    assert_eq!(topology.jurisdiction_of_country(Country::parse("NO").expect("a code")), Some(eu));
    assert_eq!(topology.jurisdiction_of_country(Country::parse("BR").expect("a code")), Some(us));
    assert_eq!(topology.nearest(frankfurt), [frankfurt, here]);

    let own = config.own_region();
    let endpoints = |group| own.endpoints(group).iter().map(Endpoint::as_str).collect::<Vec<_>>();
    assert_eq!(endpoints(UpstreamGroup::API), ["10.1.0.11:3000", "[fd00::12]:3000"]);
    let web = config.upstream_groups.find("web").expect("a group");
    assert_eq!(endpoints(web), ["unix:/run/web.sock"]);
    assert_eq!(config.upstream_groups.iter().len(), 2);
    let databases: Vec<_> = own.databases.iter().map(|(id, url)| (*id, url.address())).collect();
    assert_eq!(databases, [(us, "10.1.0.3:5432/app")]);
    assert!(own.redis.is_some());
    let other = &config.regions[frankfurt.index()];
    assert_eq!(other.endpoints(web)[0].as_str(), "10.2.0.12:3000");
    assert_eq!(other.gateway.as_ref().map(Endpoint::as_str), Some("gateway.eu.example.com:7443"));
    assert!(other.databases.is_empty() && other.redis.is_none(), "only its own gateway reads those");

    assert_eq!(config.listen.internal, Some("0.0.0.0:7443".parse().expect("an address")));
    assert_eq!(config.listen.admin, Some("127.0.0.1:9901".parse().expect("an address")));
    assert_eq!(config.listen.workers, 2);
    assert_eq!(config.internal_tls.as_deref(), Some(Path::new("/etc/residency/pki")));
    let tls = config.tls.as_ref().expect("two files");
    assert_eq!(tls.default.certificate, Path::new("/etc/residency/chain.pem"));
    assert_eq!(tls.default.key, Path::new("/etc/residency/key.pem"));
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.trusted_proxies[1].to_string(), "192.0.2.7/32");

    let routes = &config.routes;
    let rule = |method, path| routes.find(method, path).expect(path).rule;
    assert_eq!(rule("POST", "/search").access, Some(AccessRule::Always(Access::Read)));
    let graphql = GraphQlRule { subscriptions: Access::Read };
    assert_eq!(rule("POST", "/graphql").access, Some(AccessRule::GraphQl(graphql)));
    let page = rule("GET", "/account/orders");
    assert_eq!((page.upstream, page.reads), (web, Reads::Home));
    assert_eq!(rule("POST", "/signup").upstream, UpstreamGroup::API);
    let country = NameSource::Json("/billing/country".to_owned());
    assert_eq!(rule("POST", "/signup").country, Some(country));
    assert_eq!(rule("POST", "/join").country, Some(NameSource::Form("billing[country]".to_owned())));
    let header = NameSource::Header("x-billing-country".to_owned());
    assert_eq!(rule("POST", "/trial").country, Some(header));
    let login = rule("POST", "/login");
    assert_eq!(login.identifier, Some(NameSource::Json("/email".to_owned())));
    assert_eq!((login.country.is_some(), login.jurisdiction), (true, Some(us)), "each has its turn");
    assert_eq!(rule("GET", "/feed").identifier, Some(NameSource::Cookie("session".to_owned())));
    let hook = routes.find("POST", "/hooks/k%31").expect("a rule");
    assert_eq!((hook.rule.jurisdiction, hook.identifier), (Some(us), Some("k%31")), "by token.on_missing");
    assert_eq!(rule("POST", "/webhooks/a/b").jurisdiction, Some(us));
    assert_eq!(routes.find("GET", "/orgs/acme/x").expect("a rule").subject, Some("acme"));

    let readable = |rule, origin: &[u8]| {
        let headers = config.cors_of(rule).expect("[cors] is there for all").headers_for(Some(origin));
        let value =
            |name: &str| headers.iter().find(|(key, _)| key.ends_with(name)).map(|(_, value)| value.to_vec());
        ["allow-origin", "allow-credentials", "expose-headers"]
            .map(|name| value(name).map(String::from_utf8).map(|text| text.expect("ASCII")))
    };
    let some = |texts: [&str; 3]| texts.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    let (own, other) = (b"https://app.example.com", b"https://app.example.org");
    let usual = some(["https://app.example.com", "true", "x-request-id, retry-after, residency-position"]);
    assert_eq!(readable(None, own), usual);
    assert_eq!(
        readable(Some(rule("POST", "/search")), own),
        usual,
        "a route without its own takes all of it"
    );
    assert_eq!(readable(None, other), some(["", "", ""]));
    assert_eq!(
        readable(Some(rule("GET", "/public/x")), other),
        some(["*", "", "x-request-id, retry-after, residency-position"])
    );
    assert_eq!(readable(Some(rule("GET", "/internal/x")), own), some(["", "", ""]));

    assert_eq!(config.timeouts.first_byte, Duration::from_secs(5));
    assert_eq!(config.timeouts.connect, Duration::from_secs(2));
    assert_eq!((config.limits.peek_bytes, config.limits.headers), (0x4000, 100));
    assert_eq!(config.limits.replay_bytes, 65_536);
    assert_eq!(config.health.lag_limit, Duration::from_millis(250));
    assert_eq!(config.health.external[0].name, "stripe");
    assert!(config.signing_secret.is_some() && config.log.subject_key.is_some());
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.access, AccessLogTarget::File("/etc/residency/access.log".into()));
}

#[test]
fn an_issuer_takes_from_token_what_it_leaves_out_but_not_who_it_is() {
    let token = config(TWO_REGIONS, &complete_environment()).token;
    assert!(
        matches!(&token.from[..], [TokenSource::Bearer, TokenSource::Cookie(name)] if name.as_str() == "access_token")
    );
    let [first, second] = &token.issuers[..] else { panic!("{:?}", token.issuers) };
    assert_eq!(first.issuer.as_deref(), Some("https://auth.example.com"));
    assert_eq!(first.algorithms, Algorithm::DEFAULT);
    assert_eq!(first.keys, KeySource::Url("https://auth.example.com/jwks.json".to_owned()));
    assert_eq!(second.issuer.as_deref(), Some("https://old.example.com"));
    assert_eq!(second.algorithms, [Algorithm::Hs256]);
    assert!(matches!(second.keys, KeySource::Secret(_)));
    for issuer in &token.issuers {
        assert_eq!(issuer.audiences, ["api", "admin"]);
        assert_eq!(issuer.leeway, Duration::from_secs(30));
        assert_eq!(issuer.claims.jurisdiction.as_str(), "app.region");
        assert_eq!(issuer.required, RequiredClaims { iss: true, aud: true, exp: true, nbf: false });
    }
    assert_eq!((first.claims.subject.as_str(), second.claims.subject.as_str()), ("sub", "org_id"));
}

#[test]
fn introspection_stands_beside_keys_or_in_their_place_and_is_not_inherited() {
    let sidecar = "region = \"r\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\n";
    let asked = "introspection = \"https://a.example/introspect\"\n";
    let issuers = |keys: &str| config(&format!("{sidecar}{keys}"), &complete_environment()).token.issuers;

    let alone = issuers(&format!("[token]\n{asked}"));
    assert_eq!((&alone[0].keys, alone[0].algorithms.len()), (&KeySource::None, 0));
    let introspection = alone[0].introspection.as_ref().expect("it is configured");
    assert_eq!(introspection.url, "https://a.example/introspect");
    assert_eq!((introspection.client.as_ref(), introspection.tokens), (None, IntrospectedTokens::Opaque));
    assert_eq!(
        (introspection.keep, introspection.keep_refused),
        (Duration::from_mins(1), Duration::from_secs(10))
    );
    assert_eq!((introspection.timeout, introspection.per_second), (Duration::from_secs(2), 500));

    let beside = issuers(&format!(
        "jwks = \"file:/k\"\n[token]\n{asked}client_id = \"gateway\"\nclient_secret = \"env:JWT_SECRET\"\n\
         introspect = \"all\"\nintrospection_cache_s = 5\nintrospection_negative_s = 0\n\
         introspection_timeout_ms = 100\nintrospection_per_s = 7\n"
    ));
    assert_eq!(beside[0].keys, KeySource::File("/k".into()));
    assert_eq!(beside[0].algorithms, Algorithm::DEFAULT);
    let introspection = beside[0].introspection.as_ref().expect("it is configured");
    let client = introspection.client.as_ref().expect("both parts are written");
    assert_eq!((client.id.as_str(), client.secret.expose().len()), ("gateway", 41));
    assert_eq!(introspection.tokens, IntrospectedTokens::All);
    assert_eq!((introspection.keep, introspection.keep_refused), (Duration::from_secs(5), Duration::ZERO));
    assert_eq!((introspection.timeout, introspection.per_second), (Duration::from_millis(100), 7));

    let two = issuers(&format!(
        "[token]\nissuer = \"a\"\n{asked}introspection_cache_s = 5\n[[token.issuers]]\nissuer = \"b\"\njwks = \"file:/k\"\n"
    ));
    assert!(two[0].introspection.is_some() && two[1].introspection.is_none());
    let second = issuers(&format!(
        "[token]\nissuer = \"a\"\njwks = \"file:/k\"\nalgorithms = [\"ES256\"]\n[[token.issuers]]\nissuer = \"b\"\n{asked}"
    ));
    assert_eq!((&second[1].keys, second[1].algorithms.len()), (&KeySource::None, 0));
}

#[test]
fn what_is_required_of_a_token_follows_from_what_is_known() {
    let table = [
        ("", RequiredClaims { iss: false, aud: false, exp: true, nbf: false }),
        ("issuer = \"i\"", RequiredClaims { iss: true, aud: false, exp: true, nbf: false }),
        ("audience = \"a\"", RequiredClaims { iss: false, aud: true, exp: true, nbf: false }),
        ("require = [\"exp\", \"nbf\"]", RequiredClaims { iss: false, aud: false, exp: true, nbf: true }),
    ];
    for (keys, required) in table {
        let text = format!(
            "region = \"r\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\n[token]\njwks = \"file:/k\"\n{keys}"
        );
        assert_eq!(config(&text, &Environment::default()).token.issuers[0].required, required, "{keys}");
    }
}

#[test]
fn the_short_forms_mean_what_the_long_form_says() {
    let short = "region = \"us-east\"\nupstream = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]\n\
                 serves = [\"us\", \"ca\"]\njwks = \"file:/k\"\nmode = \"observe\"\n";
    let long = "region = \"us-east\"\nmode = \"observe\"\ntoken.jwks = \"file:/k\"\n\
                jurisdictions.us.home = \"us-east\"\njurisdictions.ca.home = \"us-east\"\n\
                regions.us-east.upstreams.api = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]\n";
    let [short, long] = [short, long].map(|text| {
        // A map's order is its own.
        let config = config(text, &Environment::default());
        let claims = ["us", "ca", "eu"].map(|claim| config.topology.jurisdiction_of_claim(claim));
        let modes: Vec<_> = config.topology.jurisdictions().map(|each| config.topology.mode(each)).collect();
        let token = format!("{:?}", config.token);
        (claims, modes, format!("{:?} {:?} {:?}", config.regions, config.listen, config.timeouts), token)
    });
    assert_eq!(short, long);
}

#[test]
fn listeners_have_the_defaults_their_certificates_allow() {
    let sidecar = "region = \"r\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\njwks = \"file:/k\"\n";
    let listen = |more: &str| config(&format!("{sidecar}{more}"), &Environment::default()).listen;
    let plain = listen("");
    assert_eq!((plain.https, plain.internal), (None, None));
    assert_eq!(plain.http.map(|address| address.port()), Some(8080));
    assert!(plain.workers >= 1);
    let tls = listen("tls = { certificate = \"file:c\", key = \"file:k\" }");
    assert_eq!(tls.https.map(|address| address.port()), Some(8443));
    let internal = listen("internal_tls = \"dir:pki\"");
    assert_eq!(internal.internal.map(|address| address.port()), Some(7443));
    let off = listen("internal_tls = \"dir:pki\"\nlisten = { internal = \"off\", admin = \"off\" }");
    assert_eq!((off.internal, off.admin), (None, None));
}

#[test]
fn certificates_have_their_defaults_and_take_names() {
    let sidecar = "region = \"r\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\njwks = \"file:/k\"\n";
    let read =
        |more: &str, variables: &[(&str, &str)]| config(&format!("{sidecar}{more}"), &environment(variables));
    let tls = "tls = { certificate = \"file:c\", key = \"file:k\" }";
    let plain = read(tls, &[]);
    assert!(plain.listen.http2);
    assert_eq!(plain.reload, ReloadOn::Change);
    let settings = plain.tls.expect("two files");
    assert_eq!((settings.strict_sni, settings.min_version), (false, TlsVersion::V12));
    assert_eq!(settings.others, []);

    let variables = [
        ("RESIDENCY_TLS__STRICT_SNI", "true"),
        ("RESIDENCY_TLS__MIN_VERSION", "1.3"),
        ("RESIDENCY_LISTEN__HTTP2", " false"),
        ("RESIDENCY_RELOAD", "signal"),
    ];
    let overridden = read(tls, &variables);
    assert_eq!((overridden.listen.http2, overridden.reload), (false, ReloadOn::Signal));
    let settings = overridden.tls.expect("two files");
    assert_eq!((settings.strict_sni, settings.min_version), (true, TlsVersion::V13));

    let several = "[listen]\nhttp2 = \"env:H2\"\n[tls]\ncertificate = \"file:c\"\nkey = \"file:k\"\n\
        [[tls.certificates]]\ncertificate = \"file:/d/c\"\nkey = \"file:/d/k\"\n\
        [[tls.certificates]]\ncertificate = \"file:e\"\nkey = \"file:f\"\nnames = [\"A.example.com\", \"*.B.example\"]\n";
    let several = read(several, &[("H2", "false")]);
    assert!(!several.listen.http2);
    let others = several.tls.expect("six files").others;
    assert_eq!(others[0].files.certificate, Path::new("/d/c"));
    assert_eq!(others[0].names, [""; 0]);
    assert_eq!(others[1].files.key, Path::new("f"));
    assert_eq!(others[1].names, ["a.example.com", "*.b.example"]);
}

#[test]
fn secrets_are_in_no_debug_output() {
    let shown = format!("{:?}", config(TWO_REGIONS, &complete_environment()));
    assert!(!shown.contains("secret-"), "{shown}");
}
