//! What an operator reads when a file is wrong. One file a theme, every fault in it at once.

use super::*;

const NOTHING: &[(&str, &str)] = &[];

fn report_of(text: &str) -> String {
    report(text, &environment(NOTHING))
}

#[test]
fn syntax_has_line_and_column_and_shows_no_content() {
    let text = "region = \"us-east\"\n[token\njwks = \"file:/secret-a\nmode = = 3\n[api]\nsigning_secret = secret-b\n";
    let report = report_of(text);
    assert!(!report.contains("secret-"), "{report}");
    insta::assert_snapshot!(report);
}

#[test]
fn names_and_types() {
    insta::assert_snapshot!(report_of(
        r#"
region = "us-eest"
mod = "enforce"
issuer = "https://auth.example.com"
mode = "enforced"
trusted_proxies = ["10.0.0.0/8", "the office"]
internal_tls = "/etc/residency/pki"
[token]
jwk = "https://auth.example.com/jwks.json"
leeway_s = "30"
from = ["bearer", "query:token", "cookie:a b"]
algorithms = ["RS256", "none", "RS25"]
require = ["exp", "jti"]
jurisdiction_claim = ""
on_missing = "eu"
[jurisdictions.us]
hom = "us-east"
replicas = "us-west"
countries = ["*", "@eu", "USA"]
durability = "remoet"
[jurisdictions.EU]
home = "eu-frankfrut"
[regions.us-east]
gateway = "http://10.1.0.2:7443"
upstream = { api = ["10.1.0.11:3000"] }
nearest = ["us-east", "eu-frankfurt"]
databases = "env:PG"
[regions.us-west]
gateway = "10.3.0.2"
upstreams = { web = ["10.1.0.11:3000"] }
nearest = ["us-east", "eu-frankfurt"]
[timeouts]
connect_ms = 0
idle_ms = 1.5
drain = 30
[limits]
header_bytes = 4096
connections = true
[listen]
http = "8080"
admin = 9901
[log]
level = "verbose"
access = "stderr"
"#
    ));
}

#[test]
fn parts_that_do_not_fit_together() {
    insta::assert_snapshot!(report_of(
        r#"
region = "us-east"
upstream = "127.0.0.1:3000"
jwks = "https://auth.example.com/jwks.json"
serves = ["us"]
[listen]
http = "0.0.0.0:8080"
https = "0.0.0.0:8443"
internal = "127.0.0.1:8080"
[token]
jwks = "https://auth.example.com/jwks.json"
[[token.issuers]]
hs256_secret = "0123456789"
[[token.issuers]]
issuer = "a"
algorithms = []
jwks = "ftp://auth.example.com"
[[token.issuers]]
issuer = "a"
algorithms = ["HS256"]
jwks = "https://auth.example.com/jwks.json"
[[token.issuers]]
issuer = "b"
[jurisdictions.us]
home = "us-east"
countries = ["US", "FR", "*"]
durability = "remote"
[jurisdictions.eu]
home = "us-east"
replicas = ["us-east"]
claim_values = ["eu", "us"]
countries = ["@eu27", "*"]
[regions.us-east]
upstreams = { api = ["127.0.0.1:8080", "h2c://localhost:8080", "unix:api.sock", "h2c+unix:/run/api.sock"], "Old Web" = "10.1.0.12:3000" }
databases = { us = "mysql://127.0.0.1/app", mars = "env:PG_MARS" }
redis = "env:REDIS"
[regions.eu-frankfurt]
gateway = "unix:/run/gateway.sock"
upstreams = { web = "10.2.0.12:3000" }
databases = { eu = "env:PG_EU" }
[routes]
"post /search" = { access = "read" }
"POST /a/**/b" = { access = "reads" }
"POST /signup" = { country = "json:billing.country", jurisdiction = "us" }
"POST /hooks" = { country = "header:x-country", jurisdiction = "mars" }
"/a" = { country = "query:country" }
"/b" = { country = "form:" }
"/c" = { country = "header:X Country" }
"/d" = { country = "header:Residency-Country" }
"/e" = { country = "cookie:country" }
"/f" = { identifier = "email" }
"/g" = { identifier = "json:email" }
"/h" = { identifier = "cookie:a b" }
"/i/{key}" = { identifier = "path:kye", jurisdiction = "us" }
"/j" = { identifier = "path:" }
"/k" = { identifier = "header:X-Api-Key", country = "form:country" }
"GET /k" = { identifier = "header:X-Api-Key" }
"/orgs/{id}" = { subject = "path:org", access = "read" }
"/same/{a}" = { subject = "org" }
"/pages/**" = { upstream = "web", reads = "home" }
"/files/**" = { upstream = "wbe", reads = "anywhere" }
"/graphql" = { access = "read", subscriptions = "read" }
"/same/{b}" = {}
"/shared" = { cors = { origins = "*", credentials = true, allow_headers = "*" } }
"/open" = { cors = { credentials = "yes", expose = ["X Y", "*"], max_age_s = 100000 } }
[cors]
origins = ["https://app.example.com/", "https://app.example.com:443", "https://*.com", "https://app.example.com"]
max_age = 5
[health]
dead_after_ms = 100
external = [{ name = "stripe" }, { name = "x", url = "stripe.com" }, "y"]
[tls]
certificate = "file:/etc/residency/chain.pem"
"#
    ));
}

#[test]
fn introspection_that_does_not_fit() {
    insta::assert_snapshot!(report_of(
        r#"
region = "us-east"
upstream = "127.0.0.1:3000"
serves = ["us"]
[token]
issuer = "a"
jwks = "file:/k"
client_id = "gateway"
introspection_cache_s = 60
[[token.issuers]]
issuer = "b"
introspection = "http://auth.example.com/introspect"
client_secret = "env:NOT_SET"
introspect = "jwt"
introspection_cache_s = 0
introspection_negative_s = 301
introspection_timeout_ms = "2s"
introspection_per_s = 0
[[token.issuers]]
issuer = "c"
hs256_secret = "0123456789012345678901234567890123456789"
introspection = "https://user:secret-password@auth.example.com/introspect"
client_id = "gateway"
[[token.issuers]]
issuer = "d"
introspection = "https://auth.example.com/introspect"
algorithms = ["RS256"]
[[token.issuers]]
issuer = "e"
introspections = "https://auth.example.com/introspect"
"#
    ));
}

#[test]
fn nothing_at_all() {
    insta::assert_snapshot!(report_of(""));
}

#[test]
fn own_region_alone() {
    insta::assert_snapshot!(report_of(
        "region = \"a\"\njurisdictions.us.home = \"a\"\n[regions.a]\nredis = \"rediss://h\"\n[regions.b]\n[token]\n"
    ));
}

/// The rest of the file is still looked at when regions and jurisdictions don't fit together.
#[test]
fn one_fault_hides_no_other() {
    insta::assert_snapshot!(report_of(
        r#"
region = "us-east"
internal_tls = "dir:pki"
listen = { http = "off" }
[token]
jwks = "file:keys.json"
on_unknown = "mars"
audience = []
[jurisdictions.us]
home = "mars"
replicas = ["us-east"]
[regions.us-east]
upstreams = { api = [] }
databases = { us = "env:PG_US", eu = "env:PG_EU" }
redis = "env:REDIS"
[regions.eu-frankfurt]
gateway = "10.1.0.2"
upstreams = { api = ["env:API_IN_FRANKFURT"] }
[regions.eu-nuremberg]
gateway = "10.3.0.2:7443"
[regions.ap-singapore]
gateway = "10.3.0.2:7443"
[regions]
mars-one = "10.4.0.2:7443"
[routes]
"POST /hooks" = { jurisdiction = "eu" }
"POST /search" = "read"
"#
    ));
}

#[test]
fn the_environment() {
    let text = r#"
region = "env:REGION"
upstream = ["env:API_1", "env:API_2", "env:"]
serves = "env:SERVES"
jwks = "env:JWKS"
listen = { workers = "env:WORKERS" }
log = { subject_key = "env:SUBJECT_KEY" }
"#;
    let variables = [
        ("REGION", "us-east"),
        ("API_1", "not an endpoint"),
        ("SERVES", "us, eu"),
        ("JWKS", " "),
        ("WORKERS", "0"),
        ("SUBJECT_KEY", "short"),
        ("RESIDENCY_TOKEN__ISUER", "x"),
        ("RESIDENCY_REGIONS__US_WEST__GATEWAY", "x"),
        ("RESIDENCY_MODE", "observed"),
        ("RESIDENCY_TIMEOUTS__DRAIN_MS", "30s"),
        ("RESIDENCY_TRUSTED_PROXIES", "[10.0.0.0/8]"),
    ];
    insta::assert_snapshot!(report(text, &environment(&variables)));
}

#[test]
fn a_file_that_is_not_there() {
    let errors = Config::load(Path::new("/nowhere/residency.toml"), &Environment::default());
    insta::assert_snapshot!(errors.expect_err("there is no such file"));
}

#[test]
fn warnings() {
    let text = r#"
region = "us-east"
internal_tls = "dir:/pki"
trusted_proxies = ["0.0.0.0/0"]
[token]
issuer = "https://auth.example.com"
audience = "api"
jwks = "http://auth.example.com/jwks.json"
leeway_s = 301
require = ["iss"]
introspection = "https://auth.example.com/introspect"
client_id = "gateway"
client_secret = "stands in the file"
introspection_cache_s = 301
[jurisdictions.us]
home = "us-east"
[regions.us-east]
upstreams = { api = ["127.0.0.1:3000"] }
redis = "redis://u:p@127.0.0.1/"
[regions.attic]
gateway = "10.3.0.2:7443"
databases = {}
[regions.eu-frankfurt]
gateway = "10.2.0.2:7443"
databases = { us = "env:PG_US" }
[routes]
"POST /signup" = { country = "json:/country" }
"POST /orders" = { access = "write", reads = "home" }
[timeouts]
upstream_idle_ms = 5000
[api]
signing_secret = "0123456789012345678901234567890123456789"
"#;
    let text = text.replace("home = \"us-east\"\n", "home = \"us-east\"\nreplicas = [\"eu-frankfurt\"]\n");
    let loaded = parse(&text, &environment(NOTHING)).unwrap_or_else(|errors| panic!("{errors}"));
    let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

/// Secrets by every way they come in, all of them wrong, none of them shown.
#[test]
fn no_report_shows_a_secret() {
    let text = r#"
region = "env:SECRET_A"
jwks = "https://u:secret-inline@auth.example.com/"
upstream = "env:SECRET_B"
serves = ["env:SECRET_C"]
mode = "env:SECRET_A"
[token]
hs256_secret = "secret-short"
introspection = "http://u:secret-inline@auth.example.com/"
client_id = "env:SECRET_A"
client_secret = "env:SECRET_B"
introspect = "env:SECRET_C"
introspection_per_s = "env:SECRET_A"
[api]
signing_secret = "env:SECRET_A"
[log]
subject_key = "secret-key"
access = "env:SECRET_B"
[listen]
http = "env:SECRET_A"
workers = "env:SECRET_A"
[regions.a]
redis = "secret-redis"
databases = { us = "secret-database" }
"#;
    let variables = [
        ("SECRET_A", "secret-a"),
        ("SECRET_B", "secret-b"),
        ("SECRET_C", "secret-c"),
        ("RESIDENCY_API__SIGNING_SECRET", "secret-d"),
    ];
    let report = report(text, &environment(&variables));
    assert!(!report.contains("secret-"), "{report}");
}

#[test]
fn certificates() {
    insta::assert_snapshot!(report_of(
        r#"
region = "us-east"
upstream = "127.0.0.1:3000"
serves = ["us"]
jwks = "file:/k"
reload = "inotify"
[listen]
http2 = "on"
[tls]
certificate = "file:chain.pem"
strict_sni = "yes"
min_version = "1.1"
cipher_suites = "HIGH"
[[tls.certificates]]
certificate = "file:a.pem"
names = ["api.example.com", "https://b.example.com", "*.com", "bücher.example"]
[[tls.certificates]]
certificate = "b.pem"
key = "file:b.key"
name = "b.example.com"
"#
    ));
}

#[test]
fn registers_and_positions() {
    let places = r#"
region = "us-east"
upstream = "127.0.0.1:3000"
[token]
issuer = "https://auth.example.com"
hs256_secret = "secret-secret-secret-secret-secret-secret"
"#;
    let without_table = r#"
region = "us-east"
internal_tls = "dir:/pki"
[token]
issuer = "https://auth.example.com"
jwks = "https://auth.example.com/jwks.json"
[jurisdictions.us]
home = "us-east"
register = { us-east = "postgres://10.1.0.3/app", eu-frankfurt = "postgres://10.2.0.3/app", us-eest = "mysql://x" }
[jurisdictions.eu]
home = "eu-frankfurt"
register = { eu-frankfurt = "postgres://a,b/app" }
register_file = "file:eu.jsonl"
[regions.us-east]
gateway = "10.1.0.2:7443"
upstreams = { api = ["10.1.0.11:3000"] }
[regions.eu-frankfurt]
gateway = "10.2.0.2:7443"
"#;
    let bad_table = format!(
        r#"{places}
[register]
subject_key = "short"
snapshot = "/var/lib/residency"
poll_ms = 9000
stale_after_ms = 9000
[hold]
max_ms = 0
[position]
key = "secret"
cookie = "a b"
cookie_domain = "https://example.com"
wait = 5
"#
    );
    insta::assert_snapshot!(format!("{}\n---\n{}", report_of(without_table), report_of(&bad_table)));
}
