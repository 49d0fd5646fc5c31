//! One good token, and everything that is almost one.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;
const KID: &str = "20260101-0a0b0c0d";

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes")
}

fn verifier() -> Verifier {
    let key = DecodingKey::from_ed_der(key().public_key().as_ref());
    Verifier::new(HashMap::from([(KID.to_owned(), key)]), 5)
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KID})
}

fn claims() -> Value {
    json!({
        "iss": "socket-hub", "aud": "socket-hub-edge",
        "sub": "0197a1f6-7d3f-7000-8000-000000000001", "sid": "0197a1f6-7d3f-7000-8000-000000000002",
        "jti": "x", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 800,
    })
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed_text(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = key().sign(message.as_bytes());
    format!("{message}.{}", encode(signature))
}

fn signed(header: &Value, claims: &Value) -> String {
    signed_text(&header.to_string(), &claims.to_string())
}

fn verify(token: &str) -> Result<Caller, TokenError> {
    verifier().verify(token, NOW)
}

fn with_header(name: &str, value: Value) -> Result<Caller, TokenError> {
    let mut header = header();
    header[name] = value;
    verify(&signed(&header, &claims()))
}

fn with_claim(name: &str, value: Value) -> Result<Caller, TokenError> {
    let mut claims = claims();
    claims[name] = value;
    verify(&signed(&header(), &claims))
}

fn without(name: &str) -> (Value, Value) {
    let (mut header, mut claims) = (header(), claims());
    header.as_object_mut().unwrap().remove(name);
    claims.as_object_mut().unwrap().remove(name);
    (header, claims)
}

#[test]
fn a_good_token_names_its_caller() {
    let caller = verify(&signed(&header(), &claims())).unwrap();
    assert_eq!(caller.user.to_string(), "0197a1f6-7d3f-7000-8000-000000000001");
    assert_eq!(caller.login.to_string(), "0197a1f6-7d3f-7000-8000-000000000002");
    assert_eq!(caller.expires_at, NOW + 800);
}

#[test]
fn other_algorithms_are_refused() {
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES256", "eddsa", "Ed25519",
    ] {
        assert_eq!(
            with_header("alg", json!(alg)),
            Err(TokenError::Malformed),
            "{alg}"
        );
        let mut header = header();
        header["alg"] = json!(alg);
        let unsigned = format!("{}.{}.", encode(header.to_string()), encode(claims().to_string()));
        assert_eq!(verify(&unsigned), Err(TokenError::Malformed), "{alg}, unsigned");
    }
    assert_eq!(with_header("alg", Value::Null), Err(TokenError::Malformed));
    assert_eq!(with_header("alg", json!(["EdDSA"])), Err(TokenError::Malformed));
}

#[test]
fn our_public_key_is_no_shared_secret() {
    let public = key().public_key().as_ref().to_vec();
    let secret = jsonwebtoken::EncodingKey::from_secret(&public);
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(KID.to_owned());
    let token = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
    assert_eq!(verify(&token), Err(TokenError::Malformed));
}

#[test]
fn the_signature_covers_every_byte() {
    let token = signed(&header(), &claims());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verify(&changed).is_err(), "byte {at}");
        assert!(verify(&token[..at]).is_err(), "cut at {at}");
    }
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let message = format!(
        "{}.{}",
        encode(header().to_string()),
        encode(claims().to_string())
    );
    let forged = format!("{message}.{}", encode(other.sign(message.as_bytes())));
    assert_eq!(verify(&forged), Err(TokenError::Signature));
}

#[test]
fn other_types_and_extensions_are_refused() {
    for typ in [
        json!("JWT"),
        json!("refresh+jwt"),
        json!("AT+JWT"),
        json!(""),
        json!(1),
        Value::Null,
    ] {
        assert_eq!(
            with_header("typ", typ.clone()),
            Err(TokenError::Malformed),
            "{typ}"
        );
    }
    for crit in [json!(["exp"]), json!([]), json!("b64"), Value::Null] {
        assert_eq!(
            with_header("crit", crit.clone()),
            Err(TokenError::Malformed),
            "{crit}"
        );
    }
}

#[test]
fn the_key_name_is_only_looked_up() {
    for kid in [
        "",
        "20260101",
        "../../dev/null",
        "../20260101-0a0b0c0d",
        "' OR 1=1",
        "http://127.0.0.1/k",
        "\0",
    ] {
        assert_eq!(
            with_header("kid", json!(kid)),
            Err(TokenError::UnknownKey),
            "{kid}"
        );
    }
    assert_eq!(with_header("kid", json!([KID])), Err(TokenError::Malformed));
    // Keys and addresses of keys inside a token are not looked at.
    for name in ["jku", "x5u", "x5c", "jwk"] {
        let mut header = header();
        header[name] = json!("http://127.0.0.1/key");
        header["kid"] = json!("other");
        assert!(verify(&signed(&header, &claims())).is_err(), "{name}");
    }
}

#[test]
fn times_are_judged_with_five_seconds_of_leeway() {
    let at = |now| verifier().verify(&signed(&header(), &claims()), now);
    assert!(at(NOW + 804).is_ok());
    assert_eq!(at(NOW + 805), Err(TokenError::Expired));
    assert!(at(NOW - 15).is_ok());
    assert_eq!(at(NOW - 16), Err(TokenError::Times));
    assert_eq!(with_claim("nbf", json!(NOW + 6)), Err(TokenError::Times));
    assert!(with_claim("nbf", json!(NOW + 5)).is_ok());
    assert_eq!(with_claim("iat", json!(NOW + 6)), Err(TokenError::Times));
}

#[test]
fn no_token_lives_longer_than_a_quarter_of_an_hour() {
    assert!(with_claim("exp", json!(NOW - 10 + 900)).is_ok());
    for exp in [NOW - 10 + 901, 16_725_225_600, u64::MAX, NOW - 11] {
        assert_eq!(with_claim("exp", json!(exp)), Err(TokenError::Times), "{exp}");
    }
}

#[test]
fn every_member_is_required() {
    for name in [
        "alg", "typ", "kid", "iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp",
    ] {
        let (header, claims) = without(name);
        assert!(verify(&signed(&header, &claims)).is_err(), "{name}");
        if !["alg", "typ", "kid"].contains(&name) {
            assert!(with_claim(name, Value::Null).is_err(), "{name} null");
        }
    }
}

#[test]
fn claims_of_another_type_are_refused() {
    let text = (NOW + 800).to_string();
    let huge: Value = serde_json::from_str("1e300").unwrap();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!(text),
            json!(-1),
            huge.clone(),
            json!(1.5),
            json!([NOW]),
            json!({}),
            json!(true),
        ] {
            assert!(with_claim(name, value.clone()).is_err(), "{name} {value}");
        }
    }
    for name in ["iss", "aud", "sub", "sid", "jti"] {
        for value in [json!(7), json!(""), json!({}), json!(["socket-hub"])] {
            assert!(with_claim(name, value.clone()).is_err(), "{name} {value}");
        }
    }
    assert!(with_claim("sub", json!("00000000-0000-0000-0000-000000000000")).is_err());
}

#[test]
fn other_issuers_and_audiences_are_refused() {
    assert_eq!(with_claim("iss", json!("socket-hub2")), Err(TokenError::Foreign));
    assert_eq!(with_claim("aud", json!("socket-hub")), Err(TokenError::Foreign));
    assert!(with_claim("aud", json!(["socket-hub-edge", "x"])).is_err());
}

#[test]
fn repeated_members_are_refused() {
    let header = header().to_string();
    let twice = header.replacen('{', r#"{"kid":"other","#, 1);
    assert_eq!(
        verify(&signed_text(&twice, &claims().to_string())),
        Err(TokenError::Malformed)
    );
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"sub":"0197a1f6-7d3f-7000-8000-000000000003","#, 1);
    assert_eq!(verify(&signed_text(&header, &twice)), Err(TokenError::Malformed));
}

#[test]
fn other_forms_are_refused() {
    let token = signed(&header(), &claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let others = [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        message.into(),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{message}."),
        format!("{message}.{}", "A".repeat(86)),
    ];
    for other in others {
        assert!(verify(&other).is_err(), "{other}");
    }
    assert_eq!(verify(&"a".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
}

#[test]
fn no_foreign_vector_passes() {
    let vectors = include_str!("../../tests/vectors/jws.txt");
    assert_eq!(vectors.lines().count(), 401);
    for jws in vectors.lines() {
        assert!(verify(jws).is_err(), "{jws}");
        // The same with a header that gets past ours.
        if let Some((_, rest)) = jws.split_once('.') {
            assert!(
                verify(&format!("{}.{rest}", encode(header().to_string()))).is_err(),
                "{jws}"
            );
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}", parts in proptest::array::uniform3(".{0,60}")) {
        proptest::prop_assert!(verify(&text).is_err());
        let [header, claims, signature] = parts.map(encode);
        let joined = format!("{header}.{claims}.{signature}");
        proptest::prop_assert!(verify(&joined).is_err());
    }
}
